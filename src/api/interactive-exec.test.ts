/** The WebSocket against a real server, with slow, dead, flooding and ill-behaved clients. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startFakeServer } from "./testing/fake-daemon.ts";
import { until } from "./testing/requests.ts";
import { listen, type Told } from "./testing/told.ts";

const PATH = "/v1/sandboxes/sb-1/exec";
const TOKEN = "0123456789abcdef";

async function open(url: string, first: unknown): Promise<Told> {
	const told = listen(url, PATH);
	await once(told.socket, "open");
	told.socket.send(typeof first === "string" ? first : JSON.stringify(first));
	return told;
}

/** The status and body of a refused upgrade. */
async function refused(url: string, path: string, headers: Readonly<Record<string, string>> = {}) {
	const { socket } = listen(url, path, headers);
	const [, response] = (await once(socket, "unexpected-response")) as [unknown, IncomingMessage];
	const body = Buffer.concat(await response.toArray()).toString();
	return { status: response.statusCode, error: JSON.parse(body) as { code: string; message: string } };
}

test("a program's output comes as binary with its stream and offset, its end as events", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { argv: ["echo", "hi"] });
	await until(() => told.closeCode !== undefined, "the close");
	assert.equal(told.closeCode, 1000);
	assert.deepEqual(
		told.events.map(({ type }) => type),
		["started", "exit"],
	);
	assert.deepEqual(told.outputs, [{ stream: 1, offset: 0, data: Buffer.from("hi\n") }]);
	await until(() => server.daemon.sandboxes.last.removed, "the process is forgotten");
	assert.deepEqual(server.daemon.sandboxes.last.signals, []);
});

test("binary output of both streams is exact", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { argv: ["greet"] });
	await until(() => told.outputs.length === 2, "both outputs");
	assert.deepEqual(told.outputs[1], { stream: 2, offset: 0, data: Buffer.from([0xff, 0x00]) });
	told.socket.close();
	await until(() => server.daemon.sandboxes.last.removed, "the process is killed and forgotten");
	assert.deepEqual(server.daemon.sandboxes.last.signals, ["SIGKILL"]);
});

test("stdin arrives in order, what is sent ahead included, and can be closed", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { argv: ["cat"], stdin: true });
	for (const part of ["a", "b", "c"]) told.socket.send(Buffer.from(part));
	told.socket.send('{"type":"stdin_close"}');
	await until(() => told.closeCode !== undefined, "the close");
	assert.equal(told.outputs.map(({ data }) => data.toString()).join(""), "abc");
	assert.equal(told.events.at(-1)?.exitCode, 0);
});

test("signals go to the group, sizes to the terminal", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { argv: ["sleep"], terminal: { columns: 80, rows: 24 } });
	told.socket.send('{"type":"resize","columns":100,"rows":30}');
	told.socket.send('{"type":"signal","signal":"SIGINT"}');
	await until(() => server.daemon.sandboxes.processes[0]?.signals.length === 1, "the signal");
	const { last } = server.daemon.sandboxes;
	assert.deepEqual(last.request.terminal, { columns: 80, rows: 24 });
	assert.deepEqual([last.sizes, last.signals], [["100x30"], ["SIGINT"]]);
	told.socket.terminate();
	await until(() => last.removed, "the process is killed and forgotten");
});

test("what is wrong is told as an error event, and the process is killed", async () => {
	await using server = await startFakeServer();
	const cases: readonly (readonly [first: unknown, second: string | Buffer | undefined, message: RegExp])[] =
		[
			["{", undefined, /^the message is not JSON$/],
			[{ argv: [] }, undefined, /^argv: must have at least 1/],
			[{ argv: ["x"], maxOutputBytes: 1 }, undefined, /^unknown field "maxOutputBytes"/],
			[{ argv: ["nothing"] }, undefined, /^the fake has no such program$/],
			[{ argv: ["sleep"] }, '{"type":"dance"}', /^type: must be one of/],
			[{ argv: ["sleep"] }, Buffer.from("x"), /^this connection has no stdin$/],
			[{ argv: ["sleep"] }, '{"type":"stdin_close"}', /^this connection has no stdin$/],
		];
	for (const [first, second, message] of cases) {
		const told = await open(server.url, first);
		if (second !== undefined) told.socket.send(second);
		await until(() => told.closeCode !== undefined, "the close");
		assert.equal(told.closeCode, 1008);
		assert.match(told.events.at(-1)?.message ?? "", message);
	}
	await until(() => server.daemon.sandboxes.processes.every(({ removed }) => removed), "all are killed");
});

test("an internal error is told without internals", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { argv: ["break"] });
	await until(() => told.closeCode !== undefined, "the close");
	assert.equal(told.closeCode, 1011);
	assert.equal(told.events.at(-1)?.message, "a fault of Shale; the daemon's log says more");
	assert.equal(server.lines.length, 1);
});

test("the upgrade is refused as HTTP, with the status of the error", async () => {
	await using server = await startFakeServer();
	assert.equal((await refused(server.url, "/v1/sandboxes/sb-2/exec")).status, 404);
	assert.equal((await refused(server.url, "/v1/sandboxes/..%2F/exec")).status, 400);
	assert.equal((await refused(server.url, "/v1/version")).status, 404);
	assert.equal((await refused(server.url, PATH, { origin: "http://evil.example" })).status, 403);
	assert.equal((await refused(server.url, PATH, { host: "evil.example" })).status, 403);
});

test("with a token the upgrade needs it", async () => {
	await using server = await startFakeServer({ token: TOKEN });
	assert.equal((await refused(server.url, PATH)).status, 401);
	assert.equal((await refused(server.url, PATH, { authorization: "Bearer wrong" })).status, 401);
	const { socket } = listen(server.url, PATH, { authorization: `Bearer ${TOKEN}` });
	await once(socket, "open");
	socket.terminate();
});

test("a client that stops reading stops the program", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { argv: ["flood"] });
	await until(() => told.outputs.length > 0, "the flood begins");
	told.socket.pause();
	const { last } = server.daemon.sandboxes;
	for (let before = -1; before !== last.readBytes; ) {
		before = last.readBytes;
		await sleep(150);
	}
	assert.ok(
		last.readBytes < 32 * 1024 * 1024,
		`${last.readBytes} bytes were read for a client that takes none`,
	);
	told.socket.terminate();
	await until(() => last.removed, "the process is killed and forgotten");
});

test("a client that floods stdin of a program that does not read is not read either", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { argv: ["sleep"], stdin: true });
	await until(() => told.events.length === 1, "the start");
	const { last } = server.daemon.sandboxes;
	last.stdinBlocked = last.killed;
	const part = Buffer.alloc(256 * 1024);
	for (let count = 0; count < 256; count++) told.socket.send(part);
	await sleep(300);
	assert.ok(told.socket.bufferedAmount > 32 * 1024 * 1024, "the daemon has taken in what nobody reads");
	// Though the daemon does not read, it notices that the client is gone.
	told.socket.terminate();
	for (let tries = 0; tries < 60 && !last.isKilled; tries++) await sleep(100);
	assert.ok(last.isKilled);
});

test("a message over the limit ends the connection and the process", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { argv: ["cat"], stdin: true });
	told.socket.send(Buffer.alloc(1024 * 1024 + 1));
	await until(() => told.closeCode !== undefined, "the close");
	assert.equal(told.closeCode, 1009);
	await until(() => server.daemon.sandboxes.last.removed, "the process is killed and forgotten");
});

test("a daemon that stops says so to its clients and kills nothing", async () => {
	const server = await startFakeServer();
	const told = await open(server.url, { id: "p-1", argv: ["sleep"] });
	await until(() => told.events.length === 1, "the start");
	await server[Symbol.asyncDispose]();
	await until(() => told.closeCode !== undefined, "the close");
	assert.equal(told.closeCode, 1012);
	await sleep(50);
	assert.deepEqual(server.daemon.sandboxes.last.signals, []);
});

test("a client that does not answer the farewell does not hold up the stop", async () => {
	const server = await startFakeServer();
	const told = await open(server.url, { argv: ["flood"] });
	await until(() => told.outputs.length > 0, "the flood begins");
	told.socket.pause();
	const begun = performance.now();
	await server[Symbol.asyncDispose]();
	assert.ok(performance.now() - begun < 3000);
	assert.deepEqual(server.daemon.sandboxes.last.signals, []);
	told.socket.terminate();
	server.daemon.sandboxes.last.signal("SIGKILL");
});

test("the same request again follows the run, from the oldest byte that is kept", async () => {
	await using server = await startFakeServer();
	const request = { id: "p-1", argv: ["greet"] };
	const first = await open(server.url, request);
	await until(() => first.outputs.length === 2, "both outputs");
	const again = await open(server.url, { ...request, resume: true });
	await until(() => again.outputs.length === 2, "both outputs again");
	assert.deepEqual(again.outputs, first.outputs);
	assert.equal(server.daemon.sandboxes.processes.length, 1);
	// The first connection was only found dead late: the program is the second one's.
	first.socket.terminate();
	await sleep(50);
	assert.deepEqual(server.daemon.sandboxes.last.signals, []);
	again.socket.close();
	await until(() => server.daemon.sandboxes.last.isKilled, "the process is killed");
});

test("a run that is not there is not resumed, and another request under its id is refused", async () => {
	await using server = await startFakeServer();
	const nobody = await open(server.url, { id: "p-1", argv: ["echo"], resume: true });
	await until(() => nobody.closeCode !== undefined, "the close");
	assert.equal(nobody.events[0]?.code, "not_found");
	const first = await open(server.url, { id: "p-1", argv: ["sleep"] });
	await until(() => first.events.length === 1, "the start");
	const other = await open(server.url, { id: "p-1", argv: ["echo"] });
	await until(() => other.closeCode !== undefined, "the close");
	assert.equal(other.events[0]?.code, "conflict");
	first.socket.terminate();
});

test("what has arrived of stdin is told, less what may still be on its way", async () => {
	await using server = await startFakeServer();
	const request = { id: "p-1", argv: ["cat"], stdin: true };
	const told = await open(server.url, request);
	for (let count = 0; count < 4; count++) told.socket.send(Buffer.alloc(50_000));
	await until(
		() => told.events.some(({ offset }) => offset === 200_000 - 65_536),
		"the last acknowledgement",
	);
	const again = await open(server.url, { ...request, resume: true });
	await until(() => again.events.length > 0, "the start");
	assert.equal(again.events[0]?.stdinOffset, 200_000);
	again.socket.terminate();
	told.socket.terminate();
});

test("a connection that replaces another one goes on with stdin after what that one still writes", async () => {
	await using server = await startFakeServer();
	const request = { id: "p-1", argv: ["cat"], stdin: true };
	const old = await open(server.url, request);
	await until(() => old.events.length === 1, "the start");
	const reading = Promise.withResolvers<void>();
	server.daemon.sandboxes.last.stdinBlocked = reading.promise;
	old.socket.send(Buffer.from("0123456789"));
	await sleep(50);
	const current = await open(server.url, { ...request, resume: true });
	await until(() => current.events.length === 1, "the start");
	assert.equal(current.events[0]?.stdinOffset, 10);
	old.socket.send(Buffer.from("late"));
	current.socket.send(Buffer.from("abc"));
	reading.resolve();
	await until(() => server.daemon.sandboxes.last.stdinEnd === 13, "both writes");
	await sleep(50);
	assert.equal(Buffer.concat(server.daemon.sandboxes.last.stdin).toString(), "0123456789abc");
	old.socket.terminate();
	current.socket.terminate();
});

test("output that was lost in between is told before what follows it", async () => {
	await using server = await startFakeServer();
	const told = await open(server.url, { id: "p-1", argv: ["cat"], stdin: true });
	await until(() => told.events.length === 1, "the start");
	const { last } = server.daemon.sandboxes;
	last.ringBytes = 10;
	last.loseReaders();
	for (const part of ["0123456789", "abcdefghij"]) await last.writeStdin(Buffer.from(part));
	await until(() => last.ends.stdout === 20, "the output");
	const again = await open(server.url, { id: "p-1", argv: ["cat"], stdin: true, resume: true });
	await until(() => again.outputs.length === 1, "the rest");
	assert.deepEqual(again.events[1], { type: "dropped", stream: "stdout", bytes: 10, offset: 0 });
	assert.equal(again.outputs[0]?.offset, 10);
	again.socket.terminate();
	told.socket.terminate();
});
