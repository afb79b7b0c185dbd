/** Streams against a real server, because back-pressure and disconnects are the socket's. */
import assert from "node:assert/strict";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ndjsonReply } from "./event-stream.ts";
import { createFakeLog, startFakeServer } from "./testing/fake-daemon.ts";
import { postJson, until } from "./testing/requests.ts";

/** More than kernel buffers of both sides and Node's take up: a reader that stops must have stopped the source. */
const BUFFERS_BYTES = 32 * 1024 * 1024;

const EVENTS = { accept: "application/x-ndjson" };

async function execStreamed(
	url: string,
	argv: readonly string[],
): Promise<IncomingMessage & { readonly asked: ClientRequest }> {
	const { method, headers, body } = postJson({ argv }, EVENTS);
	const asked = request(`${url}/v1/sandboxes/sb-1/exec`, { method, headers });
	asked.on("error", () => undefined);
	asked.end(body);
	const response = await new Promise<IncomingMessage>((resolve) => asked.once("response", resolve));
	response.on("error", () => undefined);
	return Object.assign(response, { asked });
}

test("events arrive while the program still runs", async () => {
	await using server = await startFakeServer();
	const response = await execStreamed(server.url, ["greet"]);
	let text = "";
	response.on("data", (data: Buffer) => {
		text += data.toString();
	});
	await until(() => text.split("\n").length === 4, "start and two outputs");
	assert.equal(server.daemon.sandboxes.last.isKilled, false);
	assert.deepEqual(JSON.parse(text.split("\n")[1] ?? ""), { type: "stdout", offset: 0, text: "héllo" });
	response.asked.destroy();
	await until(() => server.daemon.sandboxes.last.removed, "the process is forgotten");
});

test("a reader that stops stops the program, and memory does not grow", async () => {
	await using server = await startFakeServer();
	const response = await execStreamed(server.url, ["flood"]);
	response.pause();
	const { last } = server.daemon.sandboxes;
	await untilSteady(() => last.readBytes);
	assert.ok(last.readBytes < BUFFERS_BYTES, `${last.readBytes} bytes were read for a reader that takes none`);
	const before = last.readBytes;
	response.resume();
	await until(() => last.readBytes > before + BUFFERS_BYTES, "the flood goes on");
	response.asked.destroy();
	await until(() => last.removed, "the process is forgotten");
	assert.deepEqual(last.signals, ["SIGKILL"]);
});

test("a dead reader's process is killed when its connection is, though it never read", async () => {
	await using server = await startFakeServer();
	const socket = connect(server.port, "127.0.0.1");
	socket.pause();
	const body = JSON.stringify({ argv: ["flood"] });
	socket.write(
		[
			"POST /v1/sandboxes/sb-1/exec HTTP/1.1",
			"Host: localhost",
			"Accept: application/x-ndjson",
			"Content-Type: application/json",
			`Content-Length: ${body.length}`,
			"",
			body,
		].join("\r\n"),
	);
	await until(() => server.daemon.sandboxes.processes.length === 1, "the process starts");
	const { last } = server.daemon.sandboxes;
	await untilSteady(() => last.readBytes);
	socket.resetAndDestroy();
	await until(() => last.removed, "the process is forgotten");
	assert.deepEqual(last.signals, ["SIGKILL"]);
});

test("a client that leaves a silent program kills it", async () => {
	await using server = await startFakeServer();
	const response = await execStreamed(server.url, ["sleep"]);
	response.asked.destroy();
	await until(() => server.daemon.sandboxes.last.removed, "the process is forgotten");
});

test("a client that leaves a captured exec aborts it", async () => {
	await using server = await startFakeServer();
	const { method, headers, body } = postJson({ argv: ["sleep"] });
	const asked = request(`${server.url}/v1/sandboxes/sb-1/exec`, { method, headers });
	asked.on("error", () => undefined);
	asked.end(body);
	await until(() => server.daemon.sandboxes.execSignal !== undefined, "the exec has begun");
	asked.destroy();
	await until(() => server.daemon.sandboxes.execSignal?.aborted === true, "the exec is aborted");
});

test("a flooding stream does not hold up other requests", async () => {
	await using server = await startFakeServer();
	const response = await execStreamed(server.url, ["flood"]);
	response.resume();
	for (let round = 0; round < 20; round++) {
		const answer = await fetch(`${server.url}/v1/version`);
		assert.equal(answer.status, 200);
		await answer.arrayBuffer();
	}
	response.asked.destroy();
	await until(() => server.daemon.sandboxes.last.removed, "the process is forgotten");
});

test("a daemon that stops cuts its streams and kills nothing", async () => {
	const server = await startFakeServer();
	const response = await execStreamed(server.url, ["greet"]);
	let text = "";
	response.on("data", (data: Buffer) => {
		text += data.toString();
	});
	await until(() => text.split("\n").length === 4, "start and two outputs");
	const { method, headers, body } = postJson({ argv: ["sleep"] });
	const captured = request(`${server.url}/v1/sandboxes/sb-1/exec`, { method, headers });
	captured.on("error", () => undefined);
	captured.end(body);
	await until(() => server.daemon.sandboxes.execSignal !== undefined, "the exec has begun");
	const closed = new Promise((resolve) => response.once("close", resolve));
	await server[Symbol.asyncDispose]();
	await closed;
	assert.equal(text.split("\n").length, 4);
	assert.deepEqual(server.daemon.sandboxes.last.signals, []);
	assert.equal(server.daemon.sandboxes.execSignal?.reason.code, "unavailable");
});

test("silence is broken by keep-alive lines, and nothing is lost by them", async () => {
	const { log } = createFakeLog();
	async function* tell() {
		yield { type: "one" };
		await sleep(100);
		yield { type: "two" };
	}
	const source = { events: tell(), cancel: () => undefined };
	const text = await ndjsonReply(source, log, { doing: "a test", keepaliveMs: 30 }).text();
	const types = text
		.trimEnd()
		.split("\n")
		.map((line) => (JSON.parse(line) as { type: string }).type);
	assert.deepEqual(types, ["one", "keepalive", "keepalive", "keepalive", "two"]);
});

/** Until a figure has stopped changing. */
async function untilSteady(figure: () => number): Promise<void> {
	for (let last = -1; last !== figure(); ) {
		last = figure();
		await sleep(150);
	}
}
