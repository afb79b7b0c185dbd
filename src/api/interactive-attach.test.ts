/** Attaching over a WebSocket against a real server: several clients at once, none of which owns the process. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startFakeServer } from "./testing/fake-daemon.ts";
import { until } from "./testing/requests.ts";
import { listen, type Told } from "./testing/told.ts";

const PATH = "/v1/sandboxes/sb-1/processes/p-1/attach";

type Server = Awaited<ReturnType<typeof startFakeServer>>;

async function startProcess(server: Server, argv: readonly string[], stdin = true) {
	await server.daemon.sandboxes.startDetached("sb-1", { id: "p-1", argv, stdin });
	return server.daemon.sandboxes.last;
}

function textOf({ outputs }: Told): string {
	return Buffer.concat(outputs.map(({ data }) => data)).toString();
}

test("several clients see and write the same, and leaving changes nothing", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["cat"]);
	const clients = [1, 2, 3].map(() => listen(server.url, `${PATH}?stdin=true`));
	await until(() => clients.every(({ events }) => events.length === 1), "the start");
	for (const [index, { socket }] of clients.entries()) {
		socket.send(Buffer.from(`${index}`));
		await until(() => process.stdinEnd === index + 1, "its write");
	}
	await until(() => clients.every((client) => textOf(client) === "012"), "all output everywhere");
	clients[0]?.socket.close();
	clients[1]?.socket.terminate();
	await until(() => process.readers.size === 1, "two have left");
	assert.deepEqual(process.signals, []);
	clients[2]?.socket.send('{"type":"stdin_close"}');
	await until(() => clients[2]?.closeCode === 1000, "the exit");
	assert.equal(clients[2]?.events.at(-1)?.exitCode, 0);
});

test("the client chooses where to begin: the oldest, an offset, the newest bytes", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["cat"]);
	process.ringBytes = 10;
	for (const part of ["0123456789", "abcdefghij"]) await process.writeStdin(Buffer.from(part));
	await until(() => process.ends.stdout === 20, "the output");
	const cases = [
		["", "abcdefghij", [{ type: "dropped", stream: "stdout", bytes: 10, offset: 0 }]],
		["?stdoutAfter=15&stderrAfter=0", "fghij", []],
		["?tail=3", "hij", []],
	] as const;
	for (const [query, text, gaps] of cases) {
		const told = listen(server.url, PATH + query);
		await until(() => textOf(told) === text, text);
		assert.deepEqual(told.events.slice(1), gaps);
		told.socket.terminate();
	}
	const gone = listen(server.url, `${PATH}?stdoutAfter=9`);
	await until(() => gone.closeCode !== undefined, "the refusal");
	assert.equal(gone.closeCode, 1008);
	assert.deepEqual([gone.events[0]?.code, gone.events[0]?.details], ["gone", { stdoutStart: 10 }]);
});

test("signals go to the group and sizes to the terminal", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["sleep"]);
	const told = listen(server.url, PATH);
	await once(told.socket, "open");
	told.socket.send('{"type":"resize","columns":100,"rows":30}');
	told.socket.send('{"type":"signal","signal":"SIGINT"}');
	await until(() => process.signals.length === 1, "the signal");
	assert.deepEqual([process.sizes, process.signals], [["100x30"], ["SIGINT"]]);
	told.socket.terminate();
});

test("who only watches cannot write, and nobody can to a process without stdin", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["cat"], false);
	const watching = listen(server.url, PATH);
	await once(watching.socket, "open");
	watching.socket.send(Buffer.from("x"));
	await until(() => watching.closeCode !== undefined, "the refusal");
	assert.match(watching.events.at(-1)?.message ?? "", /^this connection has no stdin$/);
	const writing = listen(server.url, `${PATH}?stdin=true`);
	await until(() => writing.closeCode !== undefined, "the refusal");
	assert.equal(writing.events[0]?.code, "conflict");
	assert.deepEqual(process.signals, []);
});

test("a process that is not there and a query that is wrong are told", async () => {
	await using server = await startFakeServer();
	const nobody = listen(server.url, PATH);
	await until(() => nobody.closeCode !== undefined, "the refusal");
	assert.equal(nobody.events[0]?.code, "not_found");
	for (const query of ["?follow=true", "?tail=1&stdoutAfter=1", "?tail=x", "?hold=true&hold=true"]) {
		const { socket } = listen(server.url, PATH + query);
		const [, response] = (await once(socket, "unexpected-response")) as [unknown, { statusCode: number }];
		assert.equal(response.statusCode, 400, query);
	}
});

test("a watcher that stops reading loses output, and neither the program nor others wait for it", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["flood"]);
	const slow = listen(server.url, PATH);
	await until(() => slow.outputs.length > 0, "the flood begins");
	slow.socket.pause();
	const other = listen(server.url, PATH);
	const before = process.readBytes;
	await until(() => process.readBytes > before + 64 * 1024 * 1024, "the flood goes on");
	assert.ok(other.outputs.length > 0);
	slow.socket.resume();
	await until(() => slow.events.some(({ type }) => type === "dropped"), "the gap is told");
	for (const { socket } of [slow, other]) socket.terminate();
	process.signal("SIGKILL");
});

test("with hold the program waits", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["sleep"]);
	const told = listen(server.url, `${PATH}?hold=true`);
	await until(() => told.events.length === 1, "the start");
	assert.deepEqual(
		[...process.readers].map(({ hold }) => hold),
		[true],
	);
	told.socket.terminate();
});

test("clients that leave in any phase leave no reader behind", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["flood"]);
	for (const delayMs of [0, 1, 2, 5, 10, 20]) {
		const { socket } = listen(server.url, PATH);
		if (delayMs === 0) await once(socket, "open");
		else await sleep(delayMs);
		socket.terminate();
	}
	await until(() => process.readers.size === 0, "all readers are detached");
	assert.equal(process.isKilled, false);
	process.signal("SIGKILL");
});

test("a daemon that stops says so", async () => {
	const server = await startFakeServer();
	const process = await startProcess(server, ["sleep"]);
	const told = listen(server.url, PATH);
	await until(() => told.events.length === 1, "the start");
	await server[Symbol.asyncDispose]();
	await until(() => told.closeCode !== undefined, "the close");
	assert.equal(told.closeCode, 1012);
	assert.deepEqual(process.signals, []);
});
