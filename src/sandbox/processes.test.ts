/** Starting again, attaching and capturing as the core does it, with the real agent in place of a sandbox. */

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import type { AgentConnection } from "../agent/connection.ts";
import type { AgentProcess } from "../agent/process.ts";
import { ShaleError } from "../lib/errors.ts";
import { type ExecRequest, execOn } from "./exec.ts";
import { attachAt } from "./process-attach.ts";
import { startOnce, toAgentStart } from "./process-start.ts";
import type { AttachProcess, Sandbox, StartProcess } from "./types.ts";

const MIB = 2 ** 20;

/** What of a sandbox's record processes depend on. */
const sandbox = {
	id: "s",
	env: {},
	user: "0",
	workdir: "/",
	limits: { openFiles: 256 },
} as unknown as Sandbox;

const toArgv = (script: string) => ["sh", "-c", script];

describe("processes of the core", { skip: missingAgent() }, () => {
	let agent: RealAgent;
	let connection: AgentConnection;
	let count = 0;

	before(async () => {
		agent = await startAgent();
	});
	after(() => agent.stop());
	beforeEach(async () => {
		connection = await agent.open();
	});
	afterEach(() => connection.close());

	const newId = () => `c${++count}`;
	const start = (request: StartProcess, isForeground = true) =>
		startOnce(connection, toAgentStart(sandbox, request, { isForeground }));
	const exec = (script: string, request: Partial<ExecRequest> = {}) =>
		execOn(connection, sandbox, { argv: toArgv(script), ...request });
	const attach = (processId: string, options: AttachProcess = {}) =>
		attachAt(connection, { sandboxId: "s", processId, ...options });
	const find = async (id: string) => (await connection.list()).find((status) => status.id === id);

	async function read(process: AgentProcess): Promise<string> {
		let text = "";
		for await (const { data } of process.output()) text += data.toString();
		return text;
	}

	/** The daemon is gone and comes back. */
	async function reconnect(): Promise<void> {
		connection.close();
		connection = await agent.open();
	}

	async function startAndWait(script: string): Promise<string> {
		const id = newId();
		await start({ id, argv: toArgv(script) }, false);
		while ((await find(id))?.state !== "exited") await sleep(5);
		return id;
	}

	test("the same start again follows the run that there is, whoever made it", async () => {
		const request = { id: newId(), argv: toArgv("echo once; sleep 0.05; exit 3"), env: { A: "1", B: "2" } };
		const first = await start(request);
		assert.ok(first.process);
		const again = await start({ ...request, env: { B: "2", A: "1" } });
		assert.deepEqual([again.process, again.earlier?.guestPid], [undefined, first.process.guestPid]);
		assert.equal((await start(request, false)).earlier?.guestPid, first.process.guestPid);
		assert.equal((await first.process.exited).exitCode, 3);
		assert.equal((await start(request)).earlier?.exit?.exitCode, 3, "also when it has ended");
	});

	test("another start under a taken id is a conflict that names the field", async () => {
		const request: StartProcess = { id: newId(), argv: ["sleep", "60"], timeoutMs: 5_000 };
		await start(request, false);
		const others: Partial<StartProcess>[] = [
			{ argv: ["sleep", "61"] },
			{ argv: ["sleep", "60", ""] },
			{ env: { A: "1" } },
			{ workdir: "/tmp" },
			{ user: "0" },
			{ timeoutMs: 5_001 },
			{ stdin: true },
			{ terminal: { columns: 80, rows: 24 } },
		];
		for (const other of others) {
			await assert.rejects(start({ ...request, ...other }), { code: "conflict", message: /^id: / });
		}
		await connection.signal(request.id ?? "", 9, "group");
	});

	test("of several equal execs at once the program runs once, and all get its result", async () => {
		const id = newId();
		const script = "cat; echo $$; sleep 0.1; exit 7";
		const stdin = Buffer.from("some input\n");
		const results = await Promise.all(Array.from({ length: 4 }, () => exec(script, { id, stdin })));
		for (const { exitCode, stdout, truncated, processId } of results) {
			assert.deepEqual([exitCode, truncated, processId], [7, false, id]);
			assert.equal(stdout.toString(), results[0]?.stdout.toString());
		}
		assert.match(results[0]?.stdout.toString() ?? "", /^some input\n\d+\n$/);
		await assert.rejects(exec(script, { id, stdin: Buffer.from("other input\n") }), { code: "conflict" });
		await assert.rejects(exec(script, { id }), { code: "conflict" });
	});

	test("an exec whose daemon went away in the middle of its stdin is asked for again, and loses nothing", async () => {
		const id = newId();
		const stdin = Buffer.alloc(3 * MIB, "0123456789");
		const script = "sleep 0.1; cat | sha256sum; echo end >&2";
		const first = exec(script, { id, stdin });
		first.catch(() => undefined);
		while (((await find(id))?.stdinEnd ?? 0) === 0) await sleep(2);
		await reconnect();
		await assert.rejects(first);
		const taken = (await find(id))?.stdinEnd ?? 0;
		assert.ok(taken > 0 && taken < stdin.length, `${taken} bytes were taken`);
		const result = await exec(script, { id, stdin });
		const whole = await exec("cat | sha256sum", { stdin });
		assert.deepEqual([result.exitCode, result.stderr.toString()], [0, "end\n"]);
		assert.equal(result.stdout.toString(), whole.stdout.toString());
	});

	test("an exec that printed more than is kept says so when it is asked for again", async () => {
		const id = newId();
		const script = "head -c 3000000 /dev/zero; exit 4";
		const first = await exec(script, { id, maxOutputBytes: 4 * MIB });
		assert.deepEqual([first.stdout.length, first.truncated], [3_000_000, false]);
		const again = await exec(script, { id, maxOutputBytes: 4 * MIB });
		assert.deepEqual([again.exitCode, again.stdout.length, again.truncated], [4, MIB, true]);
	});

	test("only an exec whose caller chose its id is kept", async () => {
		const { processId } = await exec("echo kept");
		assert.equal(await find(processId), undefined);
		const id = newId();
		await exec("echo kept", { id });
		assert.equal((await find(id))?.stdoutEnd, 5);
	});

	test("a caller that gives up ends its program; a daemon that stops leaves it running", async () => {
		for (const [reason, state] of [
			[undefined, "exited"],
			[new ShaleError("unavailable", "the daemon stops"), "running"],
		] as const) {
			const id = newId();
			const caller = new AbortController();
			const running = exec("trap '' TERM; sleep 60", { id, signal: caller.signal });
			while (!(await find(id))) await sleep(2);
			caller.abort(reason);
			await assert.rejects(running, { code: reason ? "unavailable" : "cancelled" });
			assert.equal((await find(id))?.state, state);
			if (state === "running") await connection.signal(id, 9, "group");
		}
	});

	test("a caller that came back before its old connection was found dead keeps its program", async () => {
		const id = newId();
		const [old, current] = [new AbortController(), new AbortController()];
		const first = exec("echo out; sleep 60", { id, signal: old.signal });
		while (((await find(id))?.stdoutEnd ?? 0) === 0) await sleep(2);
		const second = exec("echo out; sleep 60", { id, signal: current.signal });
		while ((await find(id))?.readers !== 2) await sleep(2);
		old.abort();
		await assert.rejects(first, { code: "cancelled" });
		assert.deepEqual([(await find(id))?.state, (await find(id))?.readers], ["running", 1]);
		current.abort();
		await assert.rejects(second, { code: "cancelled" });
		assert.equal((await find(id))?.state, "exited");
	});

	test("an exec whose caller has gone before it starts does not start", async () => {
		const gone = AbortSignal.abort();
		const id = newId();
		await assert.rejects(exec("true", { id, signal: gone }), { code: "cancelled" });
		assert.equal(await find(id), undefined);
	});

	test("attaching begins at the oldest byte that is kept, at an offset, or at the newest", async () => {
		const id = await startAndWait("seq 1 1000");
		const all = Array.from({ length: 1000 }, (_, i) => `${i + 1}\n`).join("");
		assert.equal(await read(await attach(id)), all);
		assert.equal(await read(await attach(id, { stdoutOffset: 100 })), all.slice(100));
		assert.equal(await read(await attach(id, { stdoutOffset: all.length })), "");
		assert.equal(await read(await attach(id, { tailBytes: 10 })), all.slice(-10));
		assert.equal(await read(await attach(id, { tailBytes: 10_000_000 })), all);
		assert.equal(await read(await attach(id, { tailBytes: 0 })), "");
	});

	test("an offset whose bytes are gone says what is left, and one beyond the end names itself", async () => {
		const id = await startAndWait("head -c 2000000 /dev/zero; echo err >&2");
		const kept = { stdoutStart: 2_000_000 - MIB, stdoutEnd: 2_000_000, stderrStart: 0, stderrEnd: 4 };
		await assert.rejects(attach(id, { stdoutOffset: 0 }), { code: "gone", details: kept });
		assert.equal(
			(await attach(id, { stderrOffset: 0 })).from.stdoutOffset,
			kept.stdoutStart,
			"not asked for",
		);
		await assert.rejects(attach(id, { stdoutOffset: 2_000_001 }), {
			code: "invalid_argument",
			message: /^stdoutOffset: .* ends at 2000000$/,
			details: kept,
		});
		await assert.rejects(attach(id, { stderrOffset: 5 }), { message: /^stderrOffset: .* ends at 4$/ });
		await assert.rejects(attach(id, { tailBytes: 1, stdoutOffset: 1 }), { message: /^tailBytes: / });
		await assert.rejects(attach("nobody"), { code: "not_found" });
		await assert.rejects(attach("nobody", { tailBytes: 1 }), { code: "not_found" });
		assert.equal((await find(id))?.readers, 1, "who is refused has left");
	});

	test("a process that has too many readers refuses the next, and can be asked again later", async () => {
		const id = newId();
		await start({ id, argv: ["sleep", "60"] }, false);
		for (let i = 0; i < 16; i++) await attach(id);
		await assert.rejects(attach(id), { code: "resource_exhausted" });
		await connection.signal(id, 9, "group");
	});

	test("the oldest ended processes make room, and asking for one that did says that they do", async () => {
		const id = await startAndWait("true");
		for (let i = 0; i < 32; i++)
			await Promise.all(Array.from({ length: 8 }, () => exec("true", { id: newId() })));
		await assert.rejects(attach(id), (error: ShaleError) => {
			assert.deepEqual([error.code, /newest 256/.test(error.hint ?? "")], ["not_found", true]);
			return true;
		});
	});
});
