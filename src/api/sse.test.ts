/** Against a real server, because back-pressure and disconnects are the socket's. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { test } from "node:test";
import { getRequestListener, type HttpBindings } from "@hono/node-server";
import { Hono } from "hono";
import { ShaleError } from "../lib/errors.ts";
import { type ServerSentEvent, type SseOptions, sseReply } from "./sse.ts";
import { createFakeLog } from "./testing/fake-daemon.ts";
import { until } from "./testing/requests.ts";

/** More than kernel buffers of both sides and Node's take up: a reader that stops must have stopped the source. */
const BUFFERS_BYTES = 32 * 1024 * 1024;

/** A source that tells what became of it. */
class Source {
	told = 0;
	cancelled = 0;
	readonly left = Promise.withResolvers<void>();
	readonly events: AsyncIterator<ServerSentEvent>;

	constructor(make: (source: Source) => AsyncIterator<ServerSentEvent>) {
		this.events = make(this);
	}

	cancel(): void {
		this.cancelled++;
		this.left.resolve();
	}
}

const PIECE = "x".repeat(64 * 1024);

async function* flood(source: Source): AsyncGenerator<ServerSentEvent> {
	for (;;) {
		source.told += PIECE.length;
		yield { event: "piece", data: { piece: PIECE } };
	}
}

async function* silent({ left }: Source): AsyncGenerator<ServerSentEvent> {
	await left.promise;
	yield* [];
}

async function* few(): AsyncGenerator<ServerSentEvent> {
	yield { id: "e-1", event: "one", data: { text: "a\nb" } };
	yield { event: "two", data: {} };
}

async function* broken(): AsyncGenerator<ServerSentEvent> {
	yield { event: "one", data: {} };
	throw new ShaleError("gone", "it is over", { hint: "Ask again." });
}

/** A server that answers with this source, until it is disposed. */
async function serve(source: Source, options: Partial<SseOptions> = {}) {
	const { log, lines } = createFakeLog();
	const app = new Hono<{ Bindings: HttpBindings }>();
	app.get("/", (context) => sseReply(source, { context, log, doing: "telling", ...options }));
	const listener = getRequestListener(app.fetch);
	const server = createServer((incoming, outgoing) => void listener(incoming, outgoing));
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	const { port } = server.address() as AddressInfo;
	return {
		lines,
		port,
		url: `http://127.0.0.1:${port}/`,
		[Symbol.asyncDispose]: async () => {
			server.closeAllConnections();
			await new Promise((resolve) => server.close(resolve));
		},
	};
}

async function open(url: string): Promise<IncomingMessage & { readonly leave: () => void }> {
	const asked = request(url);
	asked.on("error", () => undefined);
	asked.end();
	const [response] = (await once(asked, "response")) as [IncomingMessage];
	response.on("error", () => undefined);
	return Object.assign(response, { leave: () => void asked.destroy() });
}

test("events come with their names and ids, and the end is told", async () => {
	await using server = await serve(new Source(few));
	const response = await fetch(server.url);
	assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
	assert.equal(
		await response.text(),
		'id: e-1\nevent: one\ndata: {"text":"a\\nb"}\n\nevent: two\ndata: {}\n\nevent: end\ndata: {}\n\n',
	);
});

test("an error is the last event, and the source is left", async () => {
	const source = new Source(broken);
	await using server = await serve(source);
	assert.equal(
		await (await fetch(server.url)).text(),
		'event: one\ndata: {}\n\nevent: error\ndata: {"code":"gone","message":"it is over","hint":"Ask again."}\n\n',
	);
	assert.equal(source.cancelled, 1);
});

test("the answer begins before the first event, and a silence is filled with comments", async () => {
	const source = new Source(silent);
	await using server = await serve(source, { keepAliveMs: 20 });
	const response = await open(server.url);
	let text = "";
	response.on("data", (data: Buffer) => {
		text += data.toString();
	});
	await until(() => text.length > 30, "two comments");
	assert.match(text, /^(: still here\n\n)+$/);
	assert.equal(source.cancelled, 0);
	response.leave();
	await until(() => source.cancelled === 1, "the source is left");
});

test("an event that was waited for over a comment is not lost", async () => {
	const { promise, resolve } = Promise.withResolvers<void>();
	const source = new Source(async function* () {
		await promise;
		yield* few();
	});
	await using server = await serve(source, { keepAliveMs: 10 });
	setTimeout(resolve, 50);
	const text = await (await fetch(server.url)).text();
	assert.match(text, /^(: still here\n\n)+id: e-1\nevent: one\n/);
});

test("a slow reader slows the source and gets all of it", async () => {
	const source = new Source(flood);
	await using server = await serve(source);
	const response = await open(server.url);
	response.pause();
	await untilSteady(source);
	assert.ok(source.told < BUFFERS_BYTES, `${source.told} bytes were told to a reader that takes none`);
	const before = source.told;
	response.resume();
	await until(() => source.told > before + BUFFERS_BYTES, "the flood goes on");
	response.leave();
	await until(() => source.cancelled === 1, "the source is left");
});

test("a reader that is dead but connected is hung up on", async () => {
	const source = new Source(flood);
	await using server = await serve(source, { stallMs: 200 });
	const socket = connect(server.port, "127.0.0.1");
	socket.on("error", () => undefined);
	socket.pause();
	socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	await until(() => source.cancelled === 1, "the source is left");
	let text = "";
	socket.on("data", (data: Buffer) => {
		text += data.toString("latin1");
	});
	const closed = once(socket, "close");
	socket.resume();
	await closed;
	assert.match(text, /^HTTP\/1.1 200 OK/);
	assert.deepEqual(server.lines, []);
});

test("a reader that waits for a silent source is not taken for dead", async () => {
	const source = new Source(silent);
	await using server = await serve(source, { keepAliveMs: 20, stallMs: 100 });
	const response = await open(server.url);
	response.resume();
	await new Promise((resolve) => setTimeout(resolve, 400));
	assert.equal(source.cancelled, 0);
	response.leave();
	await until(() => source.cancelled === 1, "the source is left");
});

/** Until the source is asked for no more. */
async function untilSteady(source: Source): Promise<void> {
	for (let last = -1; last !== source.told; ) {
		last = source.told;
		await new Promise((resolve) => setTimeout(resolve, 150));
	}
}
