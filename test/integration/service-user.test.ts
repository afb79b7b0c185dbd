/** A daemon that root starts and that is an ordinary user afterwards. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, it } from "node:test";
import { missingIdMapping } from "../support/id-mapping.ts";
import { linkLayers, missingLayers } from "../support/layers.ts";
import { type Inventory, takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { missingRoot } from "../support/requirements.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");
const BASE = "000-base-debian";
/** Of nobody on the host. */
const UID = 54_321;

const skip = missingRoot() || missingLayers(BASE) || (await missingIdMapping());

describe("a daemon that is an ordinary user", { skip }, () => {
	const folder = mkdtempSync(join(tmpdir(), "shale-user-"));
	let idle: Inventory;
	let daemon: ChildProcess;
	let url: string;
	let said = "";
	before(async () => {
		chmodSync(folder, 0o755);
		linkLayers(join(folder, "data", "layers"), [BASE]);
		idle = takeInventory();
		await serve();
	});
	after(async () => {
		await end("SIGTERM");
		rmSync(folder, { recursive: true });
		assert.deepEqual(await waitForNoLeaks(idle), []);
	});

	async function serve(): Promise<void> {
		daemon = spawn(process.execPath, [MAIN, "serve", "--listen", "127.0.0.1:0"], {
			stdio: ["ignore", "pipe", "pipe"],
			env: {
				...process.env,
				SHALE_DATA: join(folder, "data"),
				SHALE_RUN: join(folder, "run"),
				SHALE_DEFAULT_LAYERS: BASE,
				SHALE_USER: String(UID),
				SHALE_LOG: "error",
			},
		});
		assert.ok(daemon.stdout && daemon.stderr);
		said = "";
		daemon.stderr.setEncoding("utf8").on("data", (text: string) => {
			said += text;
		});
		const ended = once(daemon, "exit").then(() => Promise.reject(new Error(`it did not start: ${said}`)));
		const [line] = (await Promise.race([once(createInterface(daemon.stdout), "line"), ended])) as [string];
		url = line.replace(/^.* /, "");
	}

	async function end(signal: NodeJS.Signals): Promise<void> {
		daemon.kill(signal);
		await once(daemon, "exit");
	}

	async function request(method: string, path: string, body?: unknown) {
		const response = await fetch(`${url}/v1${path}`, {
			method,
			...(body !== undefined && {
				headers: { "content-type": "application/json" },
				body: JSON.stringify(body),
			}),
		});
		const text = await response.text();
		return { status: response.status, json: text === "" ? {} : JSON.parse(text) };
	}

	async function create(id: string, upper: string): Promise<void> {
		const { status, json } = await request("POST", "/sandboxes", { id, upper });
		assert.equal(status, 201, JSON.stringify(json));
	}

	async function output(id: string, script: string): Promise<string> {
		const { status, json } = await request("POST", `/sandboxes/${id}/exec`, { argv: ["sh", "-c", script] });
		assert.equal(status, 200, JSON.stringify(json));
		return json.stdout;
	}

	function jailerPid(): number {
		const [pid] = readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, "utf8").split(" ");
		return Number(pid);
	}

	it("has no rights of root's in any thread, while its jailer has them", () => {
		for (const task of readdirSync(`/proc/${daemon.pid}/task`)) {
			const status = readFileSync(`/proc/${daemon.pid}/task/${task}/status`, "utf8");
			assert.match(status, /^Uid:(\s54321){4}$/m);
			assert.match(status, /^Gid:(\s54321){4}$/m);
			assert.match(status, /^Groups:\s*$/m);
			assert.match(status, /^CapPrm:\s0+$/m);
			assert.match(status, /^CapEff:\s0+$/m);
		}
		assert.match(readFileSync(`/proc/${jailerPid()}/status`, "utf8"), /^Uid:(\s0){4}$/m);
	});

	it("creates, runs programs, tells what they use and destroys, with both kinds of uppers", async () => {
		for (const upper of ["tmpfs", "disk"]) {
			await create(upper, upper);
			assert.equal(await output(upper, "echo written > /file; cat /file; id -u"), "written\n0\n");
			const { json } = await request("GET", `/sandboxes/${upper}/stats`);
			assert.ok(json.memoryBytes > 0 && json.processes >= 1, JSON.stringify(json));
			assert.equal((await request("DELETE", `/sandboxes/${upper}`)).status, 204);
		}
		const { json } = await request("GET", "/doctor");
		assert.equal(json.ready, true, JSON.stringify(json));
	});

	it("owns what it makes, and nothing that root goes through", () => {
		for (const path of ["data", "data/shale.db", "data/layers", "data/uppers", "run/sandboxes"]) {
			assert.equal(statSync(join(folder, path)).uid, UID, path);
		}
		for (const path of ["run", "run/jailer", `data/layers/${BASE}.squashfs`]) {
			assert.equal(statSync(join(folder, path)).uid, 0, path);
		}
	});

	it("stops a sandbox and starts it on its upper", async () => {
		await create("paused", "disk");
		await output("paused", "echo kept > /file");
		assert.equal((await request("POST", "/sandboxes/paused/stop")).status, 200);
		assert.equal((await request("POST", "/sandboxes/paused/start")).status, 200);
		assert.equal(await output("paused", "cat /file"), "kept\n");
		assert.equal((await request("DELETE", "/sandboxes/paused")).status, 204);
	});

	it("refuses to build a layer, which takes root", async () => {
		const { status, json } = await request("POST", "/layers/100-python3/build", {});
		assert.ok(status === 422 || JSON.stringify(json).includes("unsupported"), JSON.stringify(json));
	});

	it("is followed by one that adopts its sandboxes when it was killed", async () => {
		await create("left-tmpfs", "tmpfs");
		await create("left-disk", "disk");
		await output("left-disk", "echo kept > /file");
		await end("SIGKILL");
		await serve();
		assert.equal(await output("left-tmpfs", "echo alive"), "alive\n");
		assert.equal(await output("left-disk", "cat /file"), "kept\n");
	});

	it("ends with the reason when its jailer dies, and the next one adopts all", async () => {
		const exit = once(daemon, "exit");
		process.kill(jailerPid(), "SIGKILL");
		assert.deepEqual(await exit, [1, null]);
		assert.match(said, /the jailer is gone \(SIGKILL\); it is not started again/);
		await serve();
		for (const id of ["left-tmpfs", "left-disk"]) {
			assert.equal(await output(id, "echo alive"), "alive\n");
			assert.equal((await request("DELETE", `/sandboxes/${id}`)).status, 204);
		}
	});
});
