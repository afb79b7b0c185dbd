/** What the next daemon makes of the sandboxes of one that was stopped, killed, or that lost its jailer. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, afterEach, before, describe, it } from "node:test";
import type { ShaleError } from "../../src/lib/errors.ts";
import { openClock } from "../../src/linux/clock.ts";
import { findAgent } from "../support/agents.ts";
import { destroyAll, type JsonAnswer, requestJson, startTestDaemon } from "../support/daemon.ts";
import { linkLayers, missingLayers } from "../support/layers.ts";
import { takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { missingRoot } from "../support/requirements.ts";
import { MAIN } from "../support/shale.ts";

const BASE = "000-base-debian";
const skip = missingRoot() || missingLayers(BASE);

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("the next daemon", { skip }, () => {
	const folder = mkdtempSync(join(tmpdir(), "shale-restart-"));
	let idle: ReturnType<typeof takeInventory>;
	let daemon: ChildProcess;
	let url: string;
	let said = "";

	before(async () => {
		linkLayers(join(folder, "data", "layers"), [BASE]);
		idle = takeInventory();
		await serve();
	});
	afterEach(() => destroyAll(request));
	after(async () => {
		await kill("SIGTERM");
		assert.deepEqual(await waitForNoLeaks(idle), []);
		rmSync(folder, { recursive: true });
	});

	const env = () => ({
		...process.env,
		SHALE_DATA: join(folder, "data"),
		SHALE_RUN: join(folder, "run"),
		SHALE_DEFAULT_LAYERS: BASE,
		SHALE_LOG: "error",
	});

	/** As `shale serve` does it, in a process of its own; the URL is its first line. */
	async function serve(): Promise<void> {
		daemon = spawn(process.execPath, [MAIN, "serve", "--listen", "127.0.0.1:0"], {
			stdio: ["ignore", "pipe", "pipe"],
			env: env(),
		});
		said = "";
		daemon.stderr?.on("data", (chunk) => {
			said += chunk;
		});
		assert.ok(daemon.stdout);
		const [line] = (await once(createInterface(daemon.stdout), "line")) as [string];
		url = line.replace(/^.* /, "");
	}

	async function kill(signal: NodeJS.Signals): Promise<void> {
		const closed = once(daemon, "close");
		daemon.kill(signal);
		await closed;
	}

	function killJailer(): void {
		execFileSync("pkill", ["-KILL", "-P", String(daemon.pid), "jailer"]);
	}

	async function restart(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
		await kill(signal);
		await serve();
	}

	function request(method: string, path: string, body?: unknown): Promise<JsonAnswer> {
		return requestJson(url + path, { method, body });
	}

	async function create(id: string, fields: Record<string, unknown> = {}): Promise<void> {
		const { status, json } = await request("POST", "/v1/sandboxes", { id, ...fields });
		assert.equal(status, 201, JSON.stringify(json));
	}

	async function run(id: string, script: string): Promise<string> {
		const { json } = await request("POST", `/v1/sandboxes/${id}/exec`, { argv: ["sh", "-c", script] });
		assert.equal(json.exitCode, 0, JSON.stringify(json));
		return String(json.stdout);
	}

	const stateOf = async (id: string) => (await request("GET", `/v1/sandboxes/${id}`)).json.state;

	/** What a process has written to stdout from an offset on, and how it ended, if it has. */
	async function read(id: string, processId: string, from: number) {
		const response = await fetch(
			`${url}/v1/sandboxes/${id}/processes/${processId}/output?stdoutAfter=${from}&stderrAfter=0`,
		);
		const lines = (await response.text()).trimEnd().split("\n");
		const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
		const text = events.filter(({ type }) => type === "stdout").map((event) => event.text);
		assert.deepEqual(
			events.filter(({ type }) => type === "dropped"),
			[],
		);
		return { text: text.join(""), last: events.at(-1) };
	}

	/** Counts, a line every few ms, until it is told to end; then it exits with 7. */
	const COUNTER = "n=0; until [ -e /end ]; do echo $n; n=$((n+1)); sleep 0.01; done; exit 7";

	for (const [victim, disturb] of [
		["the daemon was killed", () => restart()],
		["the daemon was stopped, as for an upgrade", () => restart("SIGTERM")],
		["the jailer was killed", async () => killJailer()],
		[
			"both were killed",
			async () => {
				killJailer();
				await restart();
			},
		],
	] as const) {
		it(`has all processes, all their output and their exits after ${victim}`, async () => {
			await create("work");
			for (const id of ["counter", "short"]) {
				const script = id === "counter" ? COUNTER : "echo early; sleep 0.3; echo late >&2; exit 3";
				const argv = ["sh", "-c", script];
				assert.equal((await request("POST", "/v1/sandboxes/work/processes", { id, argv })).status, 201);
			}
			await sleep(150);
			const first = await read("work", "counter", 0);
			assert.deepEqual(first.last, { type: "end" });
			await disturb();
			assert.equal(await stateOf("work"), "running");
			await run("work", "touch /end");
			await sleep(400);
			const second = await read("work", "counter", first.text.length);
			const counted = (first.text + second.text).trimEnd().split("\n");
			assert.ok(counted.length > 10);
			assert.deepEqual(counted, [...counted.keys()].map(String), "no byte is lost or told twice");
			assert.equal(second.last?.exitCode, 7);
			const { json } = await request("GET", "/v1/sandboxes/work/processes/short");
			assert.deepEqual([json.state, json.exitCode], ["exited", 3]);
			await create("new");
			assert.equal(await run("new", "echo works"), "works\n");
			process.kill(findAgent("work"), "SIGKILL");
			for (let n = 0; n < 100 && (await stateOf("work")) === "running"; n++) await sleep(20);
			assert.equal(await stateOf("work"), "failed", "its end is noticed");
		});
	}

	it("answers a create that was under way, and every later one, with the same sandbox", async () => {
		const ids = Array.from({ length: 12 }, (_, n) => `many-${n}`);
		const first = Promise.allSettled(ids.map((id) => create(id, { upper: "disk", limits: { diskMiB: 16 } })));
		await sleep(120);
		await restart();
		await first;
		for (const id of ids) {
			await create(id, { upper: "disk", limits: { diskMiB: 16 } });
			assert.equal(await run(id, "echo $HOSTNAME; hostname"), `\n${id}\n`);
		}
		const { json } = await request("GET", "/v1/sandboxes");
		assert.equal((json.sandboxes as unknown[]).length, ids.length);
	});

	it("finishes stops and destroys that were under way", async () => {
		const ids = Array.from({ length: 8 }, (_, n) => `half-${n}`);
		for (const id of ids) {
			await create(id, { upper: "disk", limits: { diskMiB: 16 } });
			await run(id, `echo ${id} > /note; sync`);
		}
		const ends = Promise.allSettled(
			ids.map((id, n) =>
				n % 2 ? request("DELETE", `/v1/sandboxes/${id}`) : request("POST", `/v1/sandboxes/${id}/stop`),
			),
		);
		await sleep(30);
		await restart();
		await ends;
		for (const [n, id] of ids.entries()) {
			const state = await stateOf(id);
			if (n % 2) {
				assert.ok(state === undefined || state === "running", `${id} is ${state}`);
				assert.equal((await request("DELETE", `/v1/sandboxes/${id}`)).status, 204);
				continue;
			}
			assert.ok(state === "stopped" || state === "running", `${id} is ${state}`);
			assert.equal((await request("POST", `/v1/sandboxes/${id}/start`)).status, 200);
			assert.equal(await run(id, "cat /note"), `${id}\n`);
		}
	});

	it("has kept a stopped sandbox with its disk, name and id", async () => {
		await create("stopped", { name: "box", upper: "disk", limits: { diskMiB: 32 } });
		await run("stopped", "echo kept > /note");
		await request("POST", "/v1/sandboxes/stopped/stop");
		await restart();
		assert.equal(await stateOf("stopped"), "stopped");
		assert.equal((await request("POST", "/v1/sandboxes", { name: "box" })).status, 409);
		assert.equal((await request("POST", "/v1/sandboxes/stopped/start")).json.state, "running");
		assert.equal(await run("stopped", "cat /note"), "kept\n");
	});

	it("notes what ended while none ran, and carries out the ends that have passed", async () => {
		await create("died");
		await create("died-on-disk", { upper: "disk", limits: { diskMiB: 32 } });
		await create("expires", { lifetimeMs: 1500 });
		const agents = ["died", "died-on-disk"].map(findAgent);
		await kill("SIGKILL");
		for (const pid of agents) process.kill(pid, "SIGKILL");
		await sleep(1600);
		await serve();
		const { json } = await request("GET", "/v1/sandboxes/died");
		assert.deepEqual([json.state, json.reason], ["failed", "it ended while no daemon ran"]);
		assert.equal((await request("POST", "/v1/sandboxes/died-on-disk/start")).json.state, "running");
		for (let n = 0; n < 100 && (await stateOf("expires")) !== undefined; n++) await sleep(20);
		assert.equal(await stateOf("expires"), undefined);
	});

	it("goes on with a program that a client has an id of, and gives its whole output", async () => {
		await create("exec");
		const body = { id: "build", argv: ["sh", "-c", "echo begin; sleep 1.2; echo end; exit 4"] };
		const first = request("POST", "/v1/sandboxes/exec/exec", body).catch(() => undefined);
		await sleep(300);
		await kill("SIGTERM");
		const answer = await first;
		if (answer) assert.deepEqual([answer.status, answer.json.code], [503, "unavailable"]);
		await serve();
		const { status, json } = await request("POST", "/v1/sandboxes/exec/exec", body);
		assert.equal(status, 200, JSON.stringify(json));
		assert.deepEqual([json.stdout, json.exitCode], ["begin\nend\n", 4]);
	});

	it("is told of at the end of the one before", async () => {
		await create("one");
		await kill("SIGTERM");
		assert.match(said, /1 sandbox lives on, and the next daemon takes over; to remove all: shale rm --all/);
		assert.equal(daemon.exitCode, 0);
		await serve();
		assert.equal(await run("one", "echo on"), "on\n");
	});

	it("does not start on a data folder that another one works on", async () => {
		await create("undisturbed");
		const second = spawn(process.execPath, [MAIN, "serve", "--listen", "127.0.0.1:0"], {
			stdio: ["ignore", "ignore", "pipe"],
			env: env(),
		});
		let refusal = "";
		second.stderr?.on("data", (chunk) => {
			refusal += chunk;
		});
		const [exitCode] = await once(second, "close");
		assert.equal(exitCode, 5, "conflict");
		assert.match(refusal, /Another daemon works on this data folder/);
		assert.equal(await run("undisturbed", "echo on"), "on\n");
	});

	it("does not start on a damaged database, and leaves what runs alone", async () => {
		await create("survivor");
		await kill("SIGTERM");
		const database = join(folder, "data", "shale.db");
		const whole = execFileSync("cat", [database]);
		writeFileSync(
			database,
			Buffer.concat([whole.subarray(0, 4096), Buffer.alloc(whole.length - 4096, 0xee)]),
		);
		const refused = spawn(process.execPath, [MAIN, "serve", "--listen", "127.0.0.1:0"], {
			stdio: ["ignore", "ignore", "pipe"],
			env: env(),
		});
		let refusal = "";
		refused.stderr?.on("data", (chunk) => {
			refusal += chunk;
		});
		const [exitCode] = await once(refused, "close");
		assert.equal(exitCode, 9, refusal);
		assert.match(refusal, /shale\.db is damaged\. Put a copy from a backup in its place/);
		assert.ok(findAgent("survivor"));
		writeFileSync(database, whole);
		await serve();
		assert.equal(await run("survivor", "echo on"), "on\n");
	});
});

describe("a host", { skip }, () => {
	/** The host's, of another boot or set by so much. */
	function clock(over: { readonly bootId?: string; readonly setByMs?: number } = {}) {
		const host = openClock();
		const { bootId = host.bootId, setByMs = 0 } = over;
		return { bootId, uptimeMs: () => host.uptimeMs(), wallMs: () => host.wallMs() + setByMs };
	}

	it("that was restarted has consistent records, kept disks and no litter", async () => {
		const idle = takeInventory();
		const daemon = await startTestDaemon([BASE]);
		await daemon.create({ id: "memory" });
		await daemon.create({ id: "disk", upper: "disk", limits: { diskMiB: 32 } });
		await daemon.exec("disk", ["sh", "-c", "echo kept > /note; sync"]);
		// The kernel takes all processes, and the files stay.
		await daemon.restart({ clock: clock({ bootId: "another-boot" }) });
		const memory = await daemon.request("GET", "/v1/sandboxes/memory");
		assert.deepEqual([memory.json.state, memory.json.reason], ["failed", "the host was restarted"]);
		const disk = await daemon.request("GET", "/v1/sandboxes/disk");
		assert.deepEqual([disk.json.state, disk.json.reason], ["stopped", "the host was restarted"]);
		assert.equal((await daemon.request("POST", "/v1/sandboxes/disk/start")).json.state, "running");
		assert.equal((await daemon.exec("disk", ["cat", "/note"])).stdout, "kept\n");
		await daemon.stop();
		assert.deepEqual(await waitForNoLeaks(idle), []);
	});

	it("whose clock is set back or forward ends sandboxes at their time", async () => {
		let setByMs = 0;
		const host = openClock();
		const setClock = { ...host, wallMs: () => host.wallMs() + setByMs };
		const daemon = await startTestDaemon([BASE], {}, { clock: setClock });
		const startedAt = performance.now();
		await daemon.create({ id: "short", lifetimeMs: 1500 });
		await daemon.create({ id: "long", lifetimeMs: 600_000 });
		setByMs = -86_400_000;
		await daemon.restart();
		setByMs = 86_400_000;
		while ((await daemon.request("GET", "/v1/sandboxes/short")).status === 200) await sleep(20);
		const tookMs = performance.now() - startedAt;
		assert.ok(tookMs > 1400 && tookMs < 4000, `${tookMs} ms`);
		const { json } = await daemon.request("GET", "/v1/sandboxes/long");
		const leftMs = Date.parse(String(json.expiresAt)) - (Date.now() + setByMs);
		assert.ok(leftMs > 590_000 && leftMs <= 600_000, `${leftMs} ms`);
		await daemon.stop();
	});

	for (const [title, isMadeBefore] of [
		["an empty", false],
		["a", true],
	] as const) {
		it(`with ${title} data folder that cannot be written says so, and no daemon starts`, async () => {
			const folder = mkdtempSync(join(tmpdir(), "shale-readonly-"));
			execFileSync("mount", ["-t", "tmpfs", "shale-test", folder]);
			try {
				const settings = { SHALE_DATA: folder };
				if (isMadeBefore) {
					linkLayers(join(folder, "layers"), [BASE]);
					await (await startTestDaemon([BASE], settings)).stop();
				}
				execFileSync("mount", ["-o", "remount,ro", folder]);
				await assert.rejects(startTestDaemon([BASE], settings), (error: ShaleError) => {
					assert.equal(error.code, "unavailable");
					assert.match(error.message, new RegExp(`${folder}/(?:layers|shale\\.db)`));
					assert.match(error.hint ?? "", /writ/);
					return true;
				});
			} finally {
				execFileSync("umount", [folder]);
				rmSync(folder, { recursive: true });
			}
		});
	}
});
