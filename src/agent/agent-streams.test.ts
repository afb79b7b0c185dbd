/** What flows to and from processes, with the real agent: slow, absent and lost readers, floods, and bad frames. */

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import type { AgentError } from "./agent-error.ts";
import type { AgentConnection, StartProcess } from "./connection.ts";
import { FrameWriter, REQUEST } from "./frames.ts";
import type { OutputChunk } from "./output-queue.ts";
import type { AgentProcess } from "./process.ts";

const { SIGKILL } = constants.signals;
const env = { PATH: "/usr/bin:/bin" };
const RING_BYTES = 64 * 1024;

/** The numbers from 1, a line each: every offset has one right content. */
const numbers = (last: number) => `${Array.from({ length: last }, (_, i) => i + 1).join("\n")}\n`;

describe("streams of an agent", { skip: missingAgent() }, () => {
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
		connection.start({ id: `s${++count}`, argv, env, ...spec });
	const shell = (script: string, spec?: Partial<StartProcess>) => start(["sh", "-c", script], spec);

	async function collect(running: AgentProcess, onChunk?: (chunk: OutputChunk) => Promise<unknown>) {
		const chunks: OutputChunk[] = [];
		for await (const chunk of running.output()) {
			chunks.push(chunk);
			await onChunk?.(chunk);
		}
		const data = Buffer.concat(chunks.filter(({ stream }) => stream === "stdout").map((chunk) => chunk.data));
		return { chunks, data, exit: await running.exited };
	}

	async function kill(running: AgentProcess) {
		await connection.signal(running.id, SIGKILL, "group");
	}

	const residentKiB = () =>
		Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent.pid}/status`, "utf8"))?.[1]);

	test("binary data goes through stdin and stdout unchanged", async () => {
		const input = randomBytes(3_000_000);
		const running = await start(["cat"], { stdin: true });
		const writing = (async () => {
			for (let at = 0; at < input.length; at += 100_000)
				await connection.writeStdin(running.id, input.subarray(at, at + 100_000));
			await connection.closeStdin(running.id);
		})();
		const { data } = await collect(running);
		await writing;
		assert.ok(data.equals(input));
	});

	test("stdin is empty when it was not asked for", async () => {
		assert.equal((await collect(await start(["cat"]))).exit.exitCode, 0);
	});

	test("a process that does not read its stdin makes the writer wait, and no other", async () => {
		const sleeper = await start(["sleep", "60"], { stdin: true });
		let hasWritten = false;
		const writing = connection.writeStdin(sleeper.id, Buffer.alloc(1_000_000)).finally(() => {
			hasWritten = true;
		});
		assert.equal((await collect(await shell("echo other"))).data.toString(), "other\n");
		await sleep(50);
		assert.equal(hasWritten, false);
		await kill(sleeper);
		// The agent may see the closed pipe before the exit: what is left is then discarded.
		await writing.catch((error: unknown) => assert.equal((error as AgentError).errnoName, "EPIPE"));
	});

	test("what is written to a process that closed its stdin is discarded, and nothing breaks", async () => {
		const running = await shell("exec 0<&-; echo closed; sleep 0.2; exit 7", { stdin: true });
		const reader = running.output();
		await reader.next();
		await connection.writeStdin(running.id, Buffer.alloc(300_000));
		for await (const _ of reader);
		assert.equal((await running.exited).exitCode, 7);
	});

	test("a slow reader with a small window and a small ring loses nothing", async () => {
		const running = await start(["seq", "1", "100000"], { ringBytes: 8192, windowBytes: 5000 });
		let turn = 0;
		const { data, chunks } = await collect(running, async () => {
			if (turn++ % 10 === 0) await sleep(1);
		});
		assert.ok(data.equals(Buffer.from(numbers(100_000))));
		assert.ok(chunks.length >= 100);
	});

	test("all output comes before the exit, however the two streams share the window", async () => {
		const both = "seq 1 20000; seq 1 20000 >&2";
		const { chunks, exit } = await collect(await shell(both, { windowBytes: 1000 }));
		const size = numbers(20_000).length;
		assert.deepEqual([exit.stdoutEnd, exit.stderrEnd], [size, size]);
		assert.equal(
			chunks.reduce((sum, { data }) => sum + data.length, 0),
			2 * size,
		);
	});

	test("a flood that nobody reads stops at its window, and others run on", async () => {
		const flood = await start(["yes"], { windowBytes: 10_000, ringBytes: RING_BYTES });
		for (let i = 0; i < 20; i++) assert.equal((await collect(await shell("echo x"))).data.toString(), "x\n");
		const before = (await connection.list()).find(({ id }) => id === flood.id)?.stdoutEnd;
		await sleep(50);
		const after = (await connection.list()).find(({ id }) => id === flood.id)?.stdoutEnd;
		assert.equal(after, before, "the process waits for its reader");
		assert.ok(before && before <= RING_BYTES);
		await kill(flood);
		const { data } = await collect(flood);
		assert.ok(/^(y\n)+$/.test(data.toString()) || data.toString().endsWith("y"));
	});

	test("memory does not grow with a flood, read or unread", async () => {
		const unread = await start(["yes"]);
		const read = await start(["head", "-c", "50000000", "/dev/zero"]);
		let bytes = 0;
		for await (const { data } of read.output()) bytes += data.length;
		assert.equal(bytes, 50_000_000);
		assert.ok(residentKiB() < 4096, `${residentKiB()} KiB`);
		await kill(unread);
		unread.detach();
	});

	test("a process without a reader does not wait, and its ring keeps the newest bytes", async () => {
		await shell("seq 1 100000", { id: "unattended", attach: false, ringBytes: RING_BYTES });
		const hasExited = async () => (await connection.list()).find(({ id }) => id === "unattended")?.exit;
		while (!(await hasExited())) await sleep(5);
		const expected = Buffer.from(numbers(100_000));
		const { chunks, data, exit } = await collect(await connection.attach("unattended"));
		assert.equal(exit.stdoutEnd, expected.length);
		assert.equal(chunks[0]?.offset, expected.length - RING_BYTES);
		assert.ok(data.equals(expected.subarray(-RING_BYTES)));
	});

	test("a process that waits for its reader goes on when the reader is lost", async () => {
		const running = await start(["seq", "1", "100000"], { ringBytes: RING_BYTES, windowBytes: 1000 });
		connection.close();
		await assert.rejects(running.exited);
		connection = await agent.open();
		const { data, exit } = await collect(await connection.attach(running.id, { hold: true }));
		assert.equal(exit.exitCode, 0);
		assert.ok(data.length >= RING_BYTES);
		assert.ok(data.equals(Buffer.from(numbers(100_000)).subarray(-data.length)));
	});

	test("reconnecting while output flows and resuming by offset loses nothing", async () => {
		const expected = Buffer.from(numbers(20_000));
		const id = `s${++count}`;
		const script =
			"i=0; while [ $i -lt 200 ]; do seq $((i*100+1)) $((i*100+100)); i=$((i+1)); sleep 0.002; done";
		let running = await connection.start({ id, argv: ["sh", "-c", script], env, windowBytes: 4096 });
		const pieces: Buffer[] = [];
		let offset = 0;
		for (let reconnects = 0; offset < expected.length; reconnects++) {
			const limit = offset + 10_000;
			for await (const chunk of running.output()) {
				assert.equal(chunk.offset, offset);
				pieces.push(chunk.data);
				offset += chunk.data.length;
				if (offset >= limit) break;
			}
			if (offset >= expected.length) break;
			connection.close();
			connection = await agent.open();
			running = await connection.attach(id, { stdoutOffset: offset, windowBytes: 4096, hold: true });
			assert.ok(reconnects < 50);
		}
		assert.ok(Buffer.concat(pieces).equals(expected));
	});

	test("an exit is there for whoever attaches later, as often as wanted", async () => {
		const running = await shell("echo kept; exit 9");
		await running.exited;
		for (const offset of [0, 2, 5]) {
			const { data, exit } = await collect(await connection.attach(running.id, { stdoutOffset: offset }));
			assert.deepEqual([data.toString(), exit.exitCode], ["kept\n".slice(offset), 9]);
		}
		await assert.rejects(connection.attach(running.id, { stdoutOffset: 6 }), { errnoName: "EINVAL" });
		await assert.rejects(connection.attach("nobody"), { errnoName: "ENOENT" });
	});

	test("a grandchild that holds stdout does not delay the exit, and is not killed by writing to it", {
		timeout: 10_000,
	}, async (context) => {
		const cwd = mkdtempSync(join(tmpdir(), "shale-agent-test-"));
		context.after(() => rmSync(cwd, { recursive: true }));
		// The grandchild goes on when it is told to, after the exit.
		const script = "mkfifo go; (read line < go; echo late; echo later; echo alive > mark) & echo parent";
		const { data, exit } = await collect(await shell(script, { cwd }));
		assert.deepEqual([data.toString(), exit.exitCode], ["parent\n", 0]);
		const told = "echo > go; until [ -s mark ]; do sleep 0.01; done; cat mark";
		const alive = await collect(await shell(told, { cwd, timeoutMs: 5_000 }));
		assert.equal(alive.data.toString(), "alive\n");
	});

	test("a grandchild that floods stdout does not delay the exit", async () => {
		const { exit } = await collect(await shell("yes & echo $!; sleep 0.05", { timeoutMs: 5_000 }));
		assert.deepEqual([exit.exitCode, exit.timedOut], [0, false]);
		for (const pid of agent.children()) process.kill(pid, "SIGKILL");
	});

	test("detach leaves the process running", async () => {
		const running = await shell("sleep 0.05; echo done");
		running.detach();
		await assert.rejects(running.exited);
		assert.equal((await collect(await connection.attach(running.id))).data.toString(), "done\n");
	});

	test("a new connection takes the place of the old one", async () => {
		const running = await shell("sleep 0.1; echo done");
		const next = await agent.open();
		assert.match(String(await connection.closed), /closed/);
		await assert.rejects(running.exited);
		connection = next;
		assert.equal((await collect(await connection.attach(running.id))).data.toString(), "done\n");
	});

	test("bad frames close the connection, and the agent serves the next one", async () => {
		const hello = new FrameWriter(REQUEST.hello, 0).u16(2).finish();
		const bad = {
			"no hello": new FrameWriter(REQUEST.list, 1).finish(),
			"a huge frame": Buffer.concat([hello, Buffer.alloc(9, 0xff)]),
			"an unknown type": Buffer.concat([hello, new FrameWriter(0x55, 1).finish()]),
			"an agent's type": Buffer.concat([hello, new FrameWriter(0x83, 1).finish()]),
			"channel 0": Buffer.concat([hello, new FrameWriter(REQUEST.list, 0).finish()]),
			"a second hello": Buffer.concat([hello, hello]),
			"a short start": Buffer.concat([hello, new FrameWriter(REQUEST.start, 1).u32(0).finish()]),
			"words without end": Buffer.concat([hello, wordsWithoutEnd()]),
			"a long signal": Buffer.concat([
				hello,
				new FrameWriter(REQUEST.signal, 1).u32(9).u8(0).u32(0).u8(1).finish(),
			]),
		};
		for (const [name, bytes] of Object.entries(bad)) {
			const socket = await agent.connect();
			const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
			socket.on("error", () => {});
			socket.resume();
			socket.write(bytes);
			await Promise.race([closed, sleep(3_000).then(() => assert.fail(`${name}: still open`))]);
		}
		connection = await agent.open();
		assert.equal((await collect(await shell("echo fine"))).data.toString(), "fine\n");
	});

	test("stdin beyond the credit closes the connection", async () => {
		await start(["sleep", "60"], { id: "greedy", stdin: true, attach: false });
		const socket = await agent.connect();
		socket.on("error", () => {});
		socket.resume();
		const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
		const open = new FrameWriter(REQUEST.stdinOpen, 1).text("id", "greedy").finish();
		const stdin = new FrameWriter(REQUEST.stdin, 1).bytes(Buffer.alloc(65_536)).finish();
		socket.write(
			Buffer.concat([new FrameWriter(REQUEST.hello, 0).u16(2).finish(), open, stdin, stdin, stdin]),
		);
		await closed;
		connection = await agent.open();
		await connection.signal("greedy", SIGKILL, "group");
	});

	test("random frames never stop the agent", async () => {
		const hello = new FrameWriter(REQUEST.hello, 0).u16(2).finish();
		const types = Object.values(REQUEST);
		let bytes = createHash("shake256", { outputLength: 200_000 }).update("seed").digest();
		const next = (below: number) => {
			const [byte = 0] = bytes;
			bytes = bytes.subarray(1);
			return byte % below;
		};
		for (let round = 0; round < 60; round++) {
			const socket = await agent.connect();
			socket.on("error", () => {});
			socket.resume();
			const frames = Array.from({ length: 20 }, () => {
				const frame = new FrameWriter(types[next(types.length)] ?? 0, 1 + next(3));
				for (let i = next(30); i > 0; i--) frame.u8(next(3) === 0 ? next(256) : 0);
				return frame.finish();
			});
			socket.end(Buffer.concat([hello, ...frames]));
			await new Promise((resolve) => socket.on("close", resolve));
		}
		connection = await agent.open();
		assert.equal((await collect(await shell("echo fine"))).data.toString(), "fine\n");
	});
});

/** A START whose argc is far beyond what follows. */
function wordsWithoutEnd(): Buffer {
	return new FrameWriter(REQUEST.start, 1)
		.bytes(Buffer.alloc(24))
		.text("id", "x")
		.text("tag", "")
		.text("cwd", "")
		.text("user", "")
		.u32(0xffff_ffff)
		.finish();
}
