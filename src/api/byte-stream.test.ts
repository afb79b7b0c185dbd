/** Clients that hang, with a deadline that a test can wait for. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { bytesReply } from "./byte-stream.ts";
import { readBytes } from "./request-body.ts";
import type { ApiContext } from "./route.ts";
import { createFakeLog } from "./testing/fake-daemon.ts";
import { until } from "./testing/requests.ts";

const STALL_MS = 100;

async function startServer(handle: (context: ApiContext, outgoing: ServerResponse) => void) {
	const server = createServer((incoming, outgoing) =>
		handle({ env: { incoming, outgoing } } as unknown as ApiContext, outgoing),
	);
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	return {
		url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
		async [Symbol.asyncDispose]() {
			server.closeAllConnections();
			await new Promise((resolve) => server.close(resolve));
		},
	};
}

async function* endless(onEnd: () => void): AsyncGenerator<Buffer> {
	try {
		for (;;) yield Buffer.alloc(65_536);
	} finally {
		onEnd();
	}
}

function answer(context: ApiContext, data: AsyncIterable<Uint8Array>, lengthBytes?: number) {
	const { log, lines } = createFakeLog();
	const length = lengthBytes === undefined ? {} : { lengthBytes };
	bytesReply(
		{ status: 200, headers: {}, data, ...length },
		{ context, log, doing: "testing", stallMs: STALL_MS },
	);
	return lines;
}

test("a reader that stops reading is cut off, and its source ended", async () => {
	let isEnded = false;
	await using server = await startServer((context) => {
		const onEnd = () => {
			isEnded = true;
		};
		answer(context, endless(onEnd));
	});
	const asked = request(server.url);
	asked.on("error", () => undefined);
	asked.end();
	const [response] = (await once(asked, "response")) as [IncomingMessage];
	response.on("error", () => undefined);
	await until(() => isEnded, "the source is ended");
});

test("a sender that stops sending is cut off, and the write fails", async () => {
	let failure: unknown;
	let gotBytes = 0;
	await using server = await startServer(async (context) => {
		try {
			for await (const chunk of readBytes(context, { stallMs: STALL_MS })) gotBytes += chunk.length;
		} catch (error) {
			failure = error;
		}
	});
	const asked = request(server.url, { method: "PUT" });
	asked.on("error", () => undefined);
	asked.write("some");
	await until(() => failure !== undefined, "the body fails");
	assert.equal(gotBytes, 4);
	assert.equal((failure as { code?: string }).code, "cancelled");
});

for (const lengthBytes of [1, 200_000]) {
	test(`a source with other than the announced ${lengthBytes} bytes is a fault, and never looks whole`, async () => {
		let lines: readonly string[] = [];
		await using server = await startServer((context) => {
			async function* source() {
				yield Buffer.alloc(100_000);
			}
			lines = answer(context, source(), lengthBytes);
		});
		await assert.rejects(async () => (await fetch(server.url)).arrayBuffer());
		await until(() => lines.length === 1, "the fault is logged");
		assert.match(lines[0] ?? "", /gave 100000 bytes instead of/);
	});
}
