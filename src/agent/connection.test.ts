import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex, duplexPair } from "node:stream";
import { afterEach, test } from "node:test";
import { AgentError } from "./agent-error.ts";
import { AgentConnection, type OpenOptions } from "./connection.ts";
import { REPLY, REQUEST } from "./frames.ts";
import {
	closeConnections,
	exit,
	FakeAgent,
	frame,
	hello,
	open,
	openWithProcess,
	output,
	started,
} from "./testing/fake-agent.ts";

afterEach(closeConnections);

test("another version, another peer and silence are no greeting", async () => {
	const cases: [string, Buffer | undefined, OpenOptions, RegExp][] = [
		["version", hello(1), {}, /speaks version 1/],
		["peer", Buffer.from("SSH-2.0-OpenSSH_9.6\r\n"), {}, /broke the protocol/],
		["silence", undefined, { timeoutMs: 10 }, /no greeting within 10 ms/],
	];
	for (const [name, answer, options, message] of cases) {
		const [ours, theirs] = duplexPair();
		const agent = new FakeAgent(theirs);
		const connection = AgentConnection.open(ours, options);
		if (answer) agent.sendBytes(answer);
		await assert.rejects(connection.greeted, { name: "AgentError", message }, name);
		await assert.rejects(connection.list(), { name: "AgentError", message }, name);
		assert.ok(ours.destroyed, name);
	}
});

test("requests of one tick are written at once", async () => {
	const batches: number[] = [];
	const stream = new Duplex({
		read() {},
		writev(chunks, done) {
			batches.push(chunks.length);
			done();
		},
	});
	const connection = AgentConnection.open(stream);
	stream.push(hello());
	await connection.greeted;
	const answered = Promise.allSettled(["a", "b", "c"].map((id) => connection.forget(id)));
	await new Promise(setImmediate);
	assert.deepEqual(batches, [1, 3]);
	connection.close();
	await answered;
});

test("a process gives its output, then its exit", async () => {
	const { agent, channel, running } = await openWithProcess();
	agent.sendBytes(
		Buffer.concat([output(channel, 0, "hello "), output(channel, 6, "world"), exit(channel, 11, 9)]),
	);
	const seen = [];
	for await (const { stream, offset, data } of running.output()) seen.push([stream, offset, data.toString()]);
	assert.deepEqual(seen, [
		["stdout", 0, "hello "],
		["stdout", 6, "world"],
	]);
	assert.deepEqual(await running.exited, {
		exitCode: 137,
		signal: "SIGKILL",
		timedOut: false,
		userTimeMs: 1.5,
		systemTimeMs: 0.5,
		maxRssKiB: 1000,
		stdoutEnd: 11,
		stderrEnd: 0,
	});
});

test("credit is given for what was consumed, and for nothing else", async () => {
	const { agent, channel, running } = await openWithProcess({ windowBytes: 10 });
	const reader = running.output();
	agent.sendBytes(Buffer.concat([output(channel, 0, "1234"), output(channel, 4, "567890")]));
	await reader.next();
	assert.equal(agent.requests.length, 0, "nothing has been consumed before the second chunk is asked for");
	await reader.next();
	assert.equal(agent.requests.length, 0, "4 of 10 bytes are not worth a frame");
	const waiting = reader.next();
	const credit = await agent.receive(REQUEST.credit);
	assert.deepEqual([credit.channel, credit.payload.readUInt32LE()], [channel, 10]);
	agent.sendBytes(output(channel, 10, "abcdefghij"));
	assert.equal((await waiting).value?.offset, 10);
});

test("a loop that is left has consumed its chunk, and another one goes on after it", async () => {
	const { agent, channel, running } = await openWithProcess({ windowBytes: 10 });
	agent.sendBytes(Buffer.concat([output(channel, 0, "12345"), output(channel, 5, "67890")]));
	for await (const { offset } of running.output()) {
		assert.equal(offset, 0);
		break;
	}
	assert.equal((await agent.receive(REQUEST.credit)).payload.readUInt32LE(), 5);
	const again = running.output();
	assert.equal((await again.next()).value?.offset, 5);
	await assert.rejects(running.output().next(), /being read already/);
});

test("attaching tells where the reading really begins", async () => {
	const { agent, connection } = await open();
	const attaching = connection.attach("p", { stdoutOffset: 5, hold: true });
	const { channel, payload } = await agent.receive(REQUEST.attach);
	assert.deepEqual([payload.readUInt32LE(0), payload.readUInt32LE(4)], [1, 5]);
	agent.sendBytes(frame(REPLY.started, channel, (f) => f.u32(42).u64(7).u64(0)));
	assert.deepEqual((await attaching).from, { stdoutOffset: 7, stderrOffset: 0 });
	const early = connection.attach("p", { stdoutOffset: 5 });
	const second = await agent.receive(REQUEST.attach);
	agent.sendBytes(frame(REPLY.started, second.channel, (f) => f.u32(42).u64(4).u64(0)));
	await assert.rejects(early, /broke the protocol/);
});

test("an agent's refusal carries its errno, and the connection goes on", async () => {
	const { agent, connection } = await open();
	const refused = connection.signal("nobody", 15, "group");
	const { channel } = await agent.receive(REQUEST.signal);
	agent.sendBytes(frame(REPLY.error, channel, (f) => f.u32(2).text("message", "no such process")));
	await assert.rejects(refused, {
		errnoName: "ENOENT",
		message: "signal process nobody: no such process (ENOENT)",
	});
	const listed = connection.list();
	agent.sendBytes(frame(REPLY.done, (await agent.receive(REQUEST.list)).channel));
	assert.deepEqual(await listed, []);
});

test("an answer that has come while this process stood still is not late", async (context) => {
	const folder = mkdtempSync(join(tmpdir(), "shale-agent-test-"));
	const server = createServer((socket) => {
		socket.write(hello());
		const end = performance.now() + 100;
		while (performance.now() < end);
	});
	context.after(() => {
		server.close();
		rmSync(folder, { recursive: true });
	});
	server.listen(join(folder, "agent.sock"));
	await once(server, "listening");
	const connection = AgentConnection.open(connect(join(folder, "agent.sock")), { timeoutMs: 50 });
	await connection.greeted;
	connection.close();
});

test("a late answer to a request that was given up is dropped", async () => {
	const { agent, connection } = await open({ requestTimeoutMs: 10 });
	const late = connection.forget("p");
	const { channel } = await agent.receive(REQUEST.forget);
	await assert.rejects(late, { errnoName: "ETIMEDOUT" });
	agent.sendBytes(frame(REPLY.ok, channel));
	const next = connection.forget("q");
	agent.sendBytes(frame(REPLY.ok, (await agent.receive(REQUEST.forget)).channel));
	await next;
});

test("a process whose start was given up is detached from, whether it starts or not", async () => {
	const { agent, connection } = await open({ requestTimeoutMs: 10 });
	const late = connection.start({ id: "p", argv: ["true"] });
	const { channel } = await agent.receive(REQUEST.start);
	await assert.rejects(late, { errnoName: "ETIMEDOUT" });
	assert.equal((await agent.receive(REQUEST.detach)).channel, channel);
	agent.sendBytes(Buffer.concat([started(channel), exit(channel, 0), frame(REPLY.ok, channel)]));
	const next = connection.forget("q");
	agent.sendBytes(frame(REPLY.ok, (await agent.receive(REQUEST.forget)).channel));
	await next;
});

test("detach ends the output, and frames that were under way are dropped", async () => {
	const { agent, connection, channel, running } = await openWithProcess();
	running.detach();
	await agent.receive(REQUEST.detach);
	agent.sendBytes(Buffer.concat([output(channel, 0, "late"), frame(REPLY.ok, channel)]));
	for await (const _ of running.output()) assert.fail("no output after detach");
	await assert.rejects(running.exited, /no reader/);
	const listed = connection.list();
	agent.sendBytes(frame(REPLY.done, (await agent.receive(REQUEST.list)).channel));
	await listed;
});

test("whatever breaks the protocol closes the connection with one clear error for all that wait", async () => {
	const violations: [string, (channel: number) => Buffer][] = [
		["a channel that is not open", () => frame(REPLY.ok, 99)],
		["a second hello", () => hello()],
		["an unknown type", (channel) => frame(0x7f, channel)],
		["started twice", started],
		["output beyond the window", (channel) => output(channel, 0, "x".repeat(11))],
		["empty output", (channel) => output(channel, 0, "")],
		[
			"output that goes back",
			(channel) => Buffer.concat([output(channel, 5, "abc"), output(channel, 7, "d")]),
		],
		["output of a third stream", (channel) => frame(REPLY.output, channel, (f) => f.u8(3).u64(0).u8(1))],
		[
			"an offset beyond 2^53",
			(channel) =>
				frame(REPLY.output, channel, (f) =>
					f
						.u8(1)
						.u64(2n ** 60n)
						.u8(1),
				),
		],
		["an exit before its output", (channel) => Buffer.concat([output(channel, 0, "abc"), exit(channel, 2)])],
		["a process that was stopped", (channel) => exit(channel, 0, 0x137f)],
		["output after the exit", (channel) => Buffer.concat([exit(channel, 0), output(channel, 0, "x")])],
		["a short frame", (channel) => frame(REPLY.exit, channel, (f) => f.u32(0))],
		["a long frame", (channel) => frame(REPLY.started, channel, (f) => f.u32(1).u64(0).u64(0).u8(0))],
		["endless stdin credit", (channel) => frame(REPLY.stdinCredit, channel, (f) => f.u32(0xffff_ffff))],
		["a frame of 4 GiB", () => Buffer.alloc(9, 0xff)],
	];
	for (const [name, violate] of violations) {
		const { agent, connection, channel, running } = await openWithProcess({ windowBytes: 10 });
		const listing = connection.list();
		agent.sendBytes(violate(channel));
		const error = await connection.closed;
		assert.ok(error instanceof AgentError && /broke the protocol/.test(error.message), `${name}: ${error}`);
		await assert.rejects(listing, error, name);
		await assert.rejects(connection.list(), error, name);
		if (name !== "output after the exit") await assert.rejects(running.exited, error, name);
	}
});

test("random bytes never do more than close the connection", async () => {
	let seed = 1;
	const random = (below: number) => {
		seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
		return seed % below;
	};
	for (let round = 0; round < 100; round++) {
		const { agent, connection, channel } = await openWithProcess({ windowBytes: 100 });
		const payload = Buffer.from(Array.from({ length: random(60) }, () => random(4) * random(80)));
		const noise = frame(0x80 + random(9), random(2) ? channel : random(4), (f) => f.bytes(payload));
		agent.sendBytes(Buffer.concat([noise, frame(REPLY.ok, 4_000_000)]));
		assert.ok((await connection.closed) instanceof AgentError);
	}
});

test("when the agent hangs up, output that has come can still be read", async () => {
	const { agent, connection, channel, running } = await openWithProcess();
	agent.sendBytes(output(channel, 0, "last words"));
	agent.end();
	assert.match(String(await connection.closed), /closed the connection/);
	const reader = running.output();
	assert.equal((await reader.next()).value?.data.toString(), "last words");
	await assert.rejects(reader.next(), /closed the connection/);
});

test("close is not an error, and may be repeated", async () => {
	const { connection, running } = await openWithProcess();
	connection.close();
	connection.close();
	assert.equal(await connection.closed, undefined);
	await assert.rejects(running.exited, /closed here/);
});

test("what the agent would not understand is refused here", async () => {
	const { connection } = await open();
	const invalid = { code: "invalid_argument" };
	await assert.rejects(connection.start({ id: "", argv: ["true"] }), invalid);
	await assert.rejects(connection.start({ id: "x".repeat(129), argv: ["true"] }), invalid);
	await assert.rejects(connection.start({ id: "p", argv: [] }), invalid);
	await assert.rejects(connection.start({ id: "p", argv: ["true"], env: { "A=B": "c" } }), invalid);
	await assert.rejects(connection.start({ id: "p", argv: ["true"], timeoutMs: 1.5 }), invalid);
	await assert.rejects(connection.start({ id: "p", argv: ["true", "a\0b"] }), invalid);
	await assert.rejects(connection.start({ id: "p", argv: ["true"], pty: { columns: 0, rows: 1 } }), invalid);
	await assert.rejects(connection.start({ id: "p", argv: ["true", "x".repeat(70_000)] }), {
		code: "too_large",
	});
	await assert.rejects(connection.attach("p", { stdoutOffset: -1 }), invalid);
});
