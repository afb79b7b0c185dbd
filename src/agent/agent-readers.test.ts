/** Several readers and writers of one process, and programs that are their caller's, with the real agent. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import { until } from "../../test/support/until.ts";
import type { AgentConnection, StartProcess } from "./connection.ts";
import type { AgentProcess } from "./process.ts";

const { SIGKILL } = constants.signals;
const env = { PATH: "/usr/bin:/bin" };
const RING_BYTES = 64 * 1024;

/** The numbers from 1, a line each: every offset has one right content. */
const numbers = (last: number) =>
	Buffer.from(`${Array.from({ length: last }, (_, i) => i + 1).join("\n")}\n`);

describe("readers and writers of a process", { skip: missingAgent() }, () => {
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

	const start = (argv: string[], spec: Partial<StartProcess> = {}) =>
		connection.start({ id: `r${++count}`, argv, env, ...spec });
	const shell = (script: string, spec?: Partial<StartProcess>) => start(["sh", "-c", script], spec);
	const kill = (id: string) => connection.signal(id, SIGKILL, "group");
	const find = async (id: string) => (await connection.list()).find((status) => status.id === id);

	/** What comes of stdout; `missing` counts the bytes between its chunks. */
	async function collect(reader: AgentProcess, delayMs = 0) {
		const pieces: Buffer[] = [];
		let missing = 0;
		let next = reader.from.stdoutOffset;
		for await (const { stream, offset, data } of reader.output()) {
			if (stream === "stderr") continue;
			missing += offset - next;
			next = offset + data.length;
			pieces.push(data);
			if (delayMs > 0) await sleep(delayMs);
		}
		return { data: Buffer.concat(pieces), missing, end: next, exit: await reader.exited };
	}

	/** Prints when it is told to, so that readers can come before. */
	async function startHeld(script: string, spec: Partial<StartProcess> = {}) {
		const running = await shell(`read go; ${script}`, { stdin: true, ringBytes: RING_BYTES, ...spec });
		return { running, go: () => connection.writeStdin(running.id, Buffer.from("go\n")) };
	}

	test("readers at different speeds, with windows of their own, all get everything", async () => {
		const { running, go } = await startHeld("exec seq 1 50000", { windowBytes: 8192 });
		const quick = await connection.attach(running.id, { hold: true });
		const slow = await connection.attach(running.id, { hold: true, windowBytes: 20_000 });
		await go();
		const all = await Promise.all([collect(running), collect(quick), collect(slow, 1)]);
		for (const { data, missing, exit } of all) {
			assert.ok(data.equals(numbers(50_000)));
			assert.deepEqual([missing, exit.exitCode], [0, 0]);
		}
	});

	test("a dead reader that holds stops the process at the end of the ring, and when it leaves all goes on", async () => {
		const { running, go } = await startHeld("exec seq 1 50000");
		const dead = await connection.attach(running.id, { hold: true, windowBytes: 1000 });
		await go();
		let hasEnded = false;
		const collected = collect(running).finally(() => {
			hasEnded = true;
		});
		await until(async () => ((await find(running.id))?.stdoutEnd ?? 0) >= RING_BYTES);
		await sleep(30);
		assert.deepEqual([(await find(running.id))?.stdoutEnd, hasEnded], [RING_BYTES, false]);
		dead.detach();
		assert.ok((await collected).data.equals(numbers(50_000)));
	});

	test("a dead reader that does not hold stops nobody, and finds the newest of the ring later", async () => {
		const { running, go } = await startHeld("exec seq 1 50000");
		const dead = await connection.attach(running.id, { windowBytes: 1000 });
		const all = numbers(50_000);
		await go();
		assert.ok((await collect(running)).data.equals(all));
		const late = await collect(dead);
		assert.ok(late.missing > 0 && late.end === all.length, `${late.missing} bytes are missing`);
		assert.ok(late.data.subarray(-RING_BYTES).equals(all.subarray(-RING_BYTES)));
		assert.equal(late.data.length + late.missing, all.length);
	});

	test("one reader leaves, and another comes in the middle: nobody else notices", async () => {
		const script =
			"i=0; while [ $i -lt 100 ]; do seq $((i*100+1)) $((i*100+100)); i=$((i+1)); sleep 0.002; done";
		const { running, go } = await startHeld(script);
		const leaving = await connection.attach(running.id, { hold: true });
		await go();
		const collected = collect(running);
		for await (const { offset } of leaving.output()) if (offset > 5000) break;
		leaving.detach();
		const coming = await collect(await connection.attach(running.id, { stdoutOffset: 4000 }));
		assert.ok((await collected).data.equals(numbers(10_000)));
		assert.ok(coming.data.equals(numbers(10_000).subarray(4000)));
	});

	test("a process has at most 16 readers at once", async () => {
		const running = await shell("sleep 60");
		const readers = [];
		for (let i = 1; i < 16; i++) readers.push(await connection.attach(running.id));
		assert.equal((await find(running.id))?.readers, 16);
		await assert.rejects(connection.attach(running.id), { errnoName: "EAGAIN" });
		readers[7]?.detach();
		await connection.attach(running.id);
		await kill(running.id);
		assert.equal((await running.exited).signal, "SIGKILL");
		for (const reader of readers.filter((_, i) => i !== 7)) await reader.exited;
	});

	test("a program that is transient is gone when the last of its readers has its exit, not before", async () => {
		const { running, go } = await startHeld("echo out", { isTransient: true });
		const slow = await connection.attach(running.id, { windowBytes: 1 });
		await go();
		assert.equal((await collect(running)).data.toString(), "out\n");
		assert.equal((await find(running.id))?.state, "exited");
		assert.equal((await collect(slow)).data.toString(), "out\n");
		assert.equal(await find(running.id), undefined);
	});

	test("a terminal's output is replayed to who comes later, and all see a change of its size", async () => {
		const script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done";
		const terminal = await shell(script, { pty: { columns: 80, rows: 24 } });
		const first = terminal.output();
		assert.equal((await first.next()).value?.data.toString(), "ready\r\n");
		const later = await connection.attach(terminal.id);
		const second = later.output();
		assert.equal((await second.next()).value?.data.toString(), "ready\r\n");
		await connection.resize(terminal.id, { columns: 132, rows: 43 });
		for (const reader of [first, second])
			assert.equal((await reader.next()).value?.data.toString(), "43 132\r\n");
		await kill(terminal.id);
		await Promise.all([terminal.exited, later.exited]);
	});

	test("pieces of two writers are not torn, also when the reader leaves whose channel they went through", async () => {
		const size = 100_000;
		const running = await start(["cat"], { stdin: true });
		const writes = Array.from({ length: 20 }, (_, i) =>
			connection.writeStdin(running.id, Buffer.alloc(size, "ab"[i % 2])),
		);
		const reader = await connection.attach(running.id, { hold: true });
		running.detach();
		const collected = collect(reader);
		await Promise.all(writes);
		await connection.closeStdin(running.id);
		const { data, exit } = await collected;
		assert.deepEqual([data.length, exit.exitCode], [20 * size, 0]);
		for (let i = 0; i < 20; i++) {
			const piece = data.subarray(i * size, (i + 1) * size);
			assert.ok(piece.equals(Buffer.alloc(size, "ab"[i % 2])), `piece ${i}`);
		}
	});

	test("stdin needs no reader, makes the writer wait, counts what it took, and fails when the process ends", async () => {
		await start(["sleep", "60"], { stdin: true, attach: false, id: "unread" });
		let hasWritten = false;
		const writing = connection.writeStdin("unread", Buffer.alloc(1_000_000)).finally(() => {
			hasWritten = true;
		});
		writing.catch(() => {});
		await sleep(50);
		const status = await find("unread");
		assert.deepEqual([hasWritten, status?.stdin, status?.readers], [false, "open", 0]);
		assert.ok(status && status.stdinEnd >= 64 * 1024 && status.stdinEnd < 300_000);
		await kill("unread");
		// The agent may see the closed pipe before the exit: what is left is then discarded.
		await writing.catch((error: unknown) => assert.equal(Reflect.get(Object(error), "errnoName"), "EPIPE"));
		await until(async () => (await find("unread"))?.stdin === "closed");
		await assert.rejects(connection.writeStdin("unread", Buffer.from("x")), { errnoName: "EPIPE" });
		await connection.closeStdin("unread");
		await assert.rejects(connection.writeStdin("nobody", Buffer.from("x")), { errnoName: "ENOENT" });
	});

	test("closing stdin is seen by the program, and by all who would write", async () => {
		const running = await start(["wc", "-c"], { stdin: true });
		await connection.writeStdin(running.id, Buffer.alloc(300_000));
		await Promise.all([connection.closeStdin(running.id), connection.closeStdin(running.id)]);
		await assert.rejects(connection.writeStdin(running.id, Buffer.from("x")), { errnoName: "EPIPE" });
		assert.equal((await collect(running)).data.toString(), "300000\n");
		const without = await shell("sleep 60");
		await assert.rejects(connection.writeStdin(without.id, Buffer.from("x")), { errnoName: "EPIPE" });
		await kill(without.id);
	});

	test("stdin goes on after the connection was lost, where it stopped", async () => {
		const { id } = await start(["wc", "-c"], { stdin: true });
		await connection.writeStdin(id, Buffer.alloc(1000));
		while ((await find(id))?.stdinEnd !== 1000) await sleep(5);
		connection.close();
		connection = await agent.open();
		const reader = await connection.attach(id);
		await connection.writeStdin(id, Buffer.alloc(500));
		await connection.closeStdin(id);
		assert.equal((await collect(reader)).data.toString(), "1500\n");
	});

	test("a foreground program is killed with its group when nobody has read it for its orphan time", async () => {
		for (const leave of ["lost", "detached"] as const) {
			const running = await shell("sleep 60 & wait", { orphanMs: 150 });
			const { id } = running;
			if (leave === "detached") {
				running.detach();
			} else {
				connection.close();
				connection = await agent.open();
			}
			assert.deepEqual([(await find(id))?.state, (await find(id))?.readers], ["running", 0]);
			await until(async () => (await find(id))?.state === "exited");
			const status = await find(id);
			assert.deepEqual([status?.exit, status?.timedOut], [{ exitCode: 137, signal: "SIGKILL" }, false]);
		}
		await until(() => agent.children().length === 0);
	});

	test("a foreground program that nobody ever read ends too; one with a reader, and one in the background, live", async () => {
		const unread = await shell("sleep 60", { orphanMs: 100, attach: false });
		const read = await shell("sleep 60", { orphanMs: 100 });
		const background = await shell("sleep 60", { attach: false });
		await until(async () => (await find(unread.id))?.state === "exited");
		await sleep(60);
		for (const { id } of [read, background]) {
			assert.equal((await find(id))?.state, "running");
			await kill(id);
		}
	});

	test("who comes back to a foreground program in time misses nothing, however much it prints", async () => {
		const running = await start(["seq", "1", "100000"], {
			orphanMs: 400,
			ringBytes: RING_BYTES,
			windowBytes: 1000,
		});
		const head = (await running.output().next()).value?.data ?? Buffer.alloc(0);
		connection.close();
		await assert.rejects(running.exited);
		connection = await agent.open();
		await sleep(50);
		const onlooker = await connection.attach(running.id);
		assert.equal(onlooker.from.stdoutOffset, 0, "the ring has not gone on");
		const back = await connection.attach(running.id, { stdoutOffset: head.length, hold: true });
		onlooker.detach();
		await sleep(450);
		const { data, exit } = await collect(back);
		assert.ok(Buffer.concat([head, data]).equals(numbers(100_000)));
		assert.equal(exit.exitCode, 0, "it was not killed");
	});

	test("a program that waits for a reader who does not come back goes on when somebody else looks", async () => {
		const running = await start(["seq", "1", "100000"], { orphanMs: 100, ringBytes: RING_BYTES });
		connection.close();
		await assert.rejects(running.exited);
		connection = await agent.open();
		const onlooker = await connection.attach(running.id);
		const { from } = onlooker;
		const { data, missing, exit, end } = await collect(onlooker);
		assert.equal(exit.exitCode, 0);
		assert.equal(end, numbers(100_000).length);
		assert.equal(data.length + missing, end - from.stdoutOffset);
	});

	test("the tag of a start is told again, running or exited", async () => {
		const running = await shell("sleep 0.05", { tag: "0123456789abcdef0123456789abcdef" });
		assert.equal((await find(running.id))?.tag, "0123456789abcdef0123456789abcdef");
		await running.exited;
		assert.equal((await find(running.id))?.tag, "0123456789abcdef0123456789abcdef");
		const tag = "x".repeat(65);
		await assert.rejects(shell("true", { tag }), { code: "invalid_argument" });
	});

	test("a program that closes its stdio still has an exit", async () => {
		const running = await shell("exec 0<&- 1>&- 2>&-; sleep 0.05; exit 3", { stdin: true });
		const { data, exit } = await collect(running);
		assert.deepEqual([data.length, exit.exitCode], [0, 3]);
	});

	test("a program that ignores SIGTERM is there until SIGKILL", async () => {
		const running = await shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
		await running.output().next();
		await connection.signal(running.id, constants.signals.SIGTERM, "process");
		await sleep(30);
		assert.equal((await find(running.id))?.state, "running");
		await kill(running.id);
		assert.equal((await running.exited).signal, "SIGKILL");
	});

	test("floods on both streams grow no memory and delay nobody, whether their readers are dead or do not hold", async () => {
		const floods = [];
		for (const attach of [true, false]) floods.push(await shell("yes & yes >&2", { attach }));
		const dead = await connection.attach(`r${count}`);
		for (let i = 0; i < 20; i++) {
			const { data, exit } = await collect(await shell("echo x"));
			assert.deepEqual([data.toString(), exit.exitCode], ["x\n", 0]);
		}
		const resident = readFileSync(`/proc/${agent.pid}/status`, "utf8");
		const residentKiB = Number(/VmRSS:\s+(\d+)/.exec(resident)?.[1]);
		assert.ok(residentKiB < 8 * 1024, `${residentKiB} KiB`);
		for (const flood of floods) await kill(flood.id);
		dead.detach();
	});
});
