/** Contents over a real server: ranges, and clients that are slow, dead or gone. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { test } from "node:test";
import { MIB } from "../lib/units.ts";
import { startFakeServer } from "./testing/fake-daemon.ts";
import { PIECE_BYTES, WRITTEN_AT } from "./testing/fake-files.ts";
import { expectError, until } from "./testing/requests.ts";

type FakeServer = Awaited<ReturnType<typeof startFakeServer>>;

const MODIFIED = new Date(WRITTEN_AT).toUTCString();

function contentUrl(server: FakeServer, path: string): string {
	return `${server.url}/v1/sandboxes/sb-1/files/content?path=${path}`;
}

/** The answer's head; its body is not read yet. */
async function open(url: string, options: { method?: string; headers?: Record<string, string> } = {}) {
	const asked = request(url, options);
	asked.on("error", () => undefined);
	const answered = once(asked, "response") as Promise<[IncomingMessage]>;
	asked.end();
	const [response] = await answered;
	return response;
}

test("content comes with its length and date, and HEAD gives the same headers", async () => {
	await using server = await startFakeServer();
	server.daemon.sandboxes.files.put("/f", { text: "0123456789" });
	const whole = await fetch(contentUrl(server, "/f"));
	assert.equal(await whole.text(), "0123456789");
	const head = await fetch(contentUrl(server, "/f"), { method: "HEAD" });
	assert.equal(await head.text(), "");
	for (const { status, headers } of [whole, head]) {
		assert.equal(status, 200);
		assert.equal(headers.get("content-length"), "10");
		assert.equal(headers.get("accept-ranges"), "bytes");
		assert.equal(headers.get("last-modified"), MODIFIED);
		assert.equal(headers.get("content-type"), "application/octet-stream");
		assert.equal(headers.get("x-content-type-options"), "nosniff");
	}
	for (const path of ["/none", "/"]) {
		const { status } = await fetch(contentUrl(server, path), { method: "HEAD" });
		assert.equal((await fetch(contentUrl(server, path))).status, status);
		assert.equal(status, path === "/" ? 409 : 404);
	}
});

for (const [range, status, body, contentRange] of [
	["bytes=0-0", 206, "0", "bytes 0-0/10"],
	["bytes=2-4", 206, "234", "bytes 2-4/10"],
	["bytes=7-", 206, "789", "bytes 7-9/10"],
	["bytes=7-99", 206, "789", "bytes 7-9/10"],
	["bytes=-3", 206, "789", "bytes 7-9/10"],
	["bytes=-99", 206, "0123456789", "bytes 0-9/10"],
	["bytes=0-1,4-5", 200, "0123456789", null],
	["bytes=5-2", 200, "0123456789", null],
	["lines=1-2", 200, "0123456789", null],
	["bytes=10-", 416, undefined, "bytes */10"],
	["bytes=99-", 416, undefined, "bytes */10"],
	["bytes=-0", 416, undefined, "bytes */10"],
] as const) {
	test(`Range: ${range} is answered with ${status}`, async () => {
		await using server = await startFakeServer();
		server.daemon.sandboxes.files.put("/f", { text: "0123456789" });
		const response = await fetch(contentUrl(server, "/f"), { headers: { range } });
		assert.equal(response.headers.get("content-range"), contentRange);
		if (status === 416) assert.match((await expectError(response, 416)).message, /only 10 bytes/);
		else {
			assert.equal(response.status, status);
			assert.equal(response.headers.get("content-length"), String(body?.length));
			assert.equal(await response.text(), body);
		}
	});
}

test("an empty file has no range, and is read whole", async () => {
	await using server = await startFakeServer();
	server.daemon.sandboxes.files.put("/empty");
	assert.equal(await (await fetch(contentUrl(server, "/empty"))).text(), "");
	for (const range of ["bytes=0-", "bytes=0-5", "bytes=-5"]) {
		const response = await fetch(contentUrl(server, "/empty"), { headers: { range } });
		assert.equal(response.headers.get("content-range"), "bytes */0");
		await expectError(response, 416);
	}
});

test("If-Range gives the part of the same file, and all of another", async () => {
	await using server = await startFakeServer();
	const { files } = server.daemon.sandboxes;
	const old = { modifiedAt: "2020-01-01T00:00:00.500Z" };
	files.put("/f", { text: "0123456789", ...old });
	const date = new Date(old.modifiedAt).toUTCString();
	const get = async (ifRange: string) =>
		(await fetch(contentUrl(server, "/f"), { headers: { range: "bytes=2-4", "if-range": ifRange } })).text();
	assert.equal(await get(date), "234");
	assert.equal(await get(MODIFIED), "0123456789");
	assert.equal(await get('"an-etag"'), "0123456789");
	// Within the second of its date a file may change again.
	files.put("/f", { text: "0123456789", modifiedAt: new Date().toISOString() });
	assert.equal(await get(new Date().toUTCString()), "0123456789");
});

test("a body that cannot be finished is cut off, with its connection", async () => {
	await using server = await startFakeServer();
	for (const path of ["content?path=/breaks", "archive?path=/breaks"]) {
		const response = await open(`${server.url}/v1/sandboxes/sb-1/files/${path}`);
		assert.equal(response.statusCode, 200);
		let gotBytes = 0;
		await assert.rejects(async () => {
			for await (const chunk of response) gotBytes += (chunk as Buffer).length;
		}, /aborted/);
		assert.equal(gotBytes, PIECE_BYTES);
		assert.equal(response.complete, false);
	}
	assert.deepEqual(server.lines, []);
});

test("a reader that takes nothing holds up its own file only, and little memory", async () => {
	await using server = await startFakeServer();
	const { files } = server.daemon.sandboxes;
	const response = await open(contentUrl(server, "/endless"));
	let before = -1;
	await until(() => {
		const isSteady = files.readBytes > 0 && files.readBytes === before;
		before = files.readBytes;
		return isSteady;
	}, "the source rests");
	// What the kernel's two socket buffers hold, and one piece.
	assert.ok(files.readBytes < 16 * MIB, `${files.readBytes} bytes were read`);
	assert.equal(files.isEnded, false);
	assert.equal((await fetch(`${server.url}/v1/sandboxes/sb-1`)).status, 200);
	response.destroy();
	await until(() => files.isEnded, "the source is ended");
	assert.deepEqual(server.lines, []);
});

test("an upload is taken no faster than the sandbox writes it", async () => {
	await using server = await startFakeServer();
	const { files } = server.daemon.sandboxes;
	const held = Promise.withResolvers<void>();
	files.holdWrite = held.promise;
	const asked = request(contentUrl(server, "/null"), { method: "PUT" });
	const answered = once(asked, "response") as Promise<[IncomingMessage]>;
	const piece = Buffer.alloc(MIB);
	let accepted = 0;
	while (accepted < 64 && asked.write(piece)) accepted++;
	for (; accepted < 64; accepted++) {
		const drained = await Promise.race([
			once(asked, "drain").then(() => true),
			new Promise((resolve) => setTimeout(resolve, 200, false)),
		]);
		if (!drained) break;
		asked.write(piece);
	}
	assert.ok(accepted < 32, `${accepted} MiB were taken while nothing was written`);
	held.resolve();
	asked.end();
	const [response] = await answered;
	assert.equal(response.statusCode, 200);
	assert.equal(files.receivedBytes, (accepted + 1) * MIB);
	response.resume();
});

for (const headers of [{ "content-length": "1000000" }, { "transfer-encoding": "chunked" }]) {
	test(`an upload that breaks off leaves the old file (${Object.keys(headers)[0]})`, async () => {
		await using server = await startFakeServer();
		const { files } = server.daemon.sandboxes;
		files.put("/f", { text: "old" });
		const asked = request(contentUrl(server, "/f"), { method: "PUT", headers });
		asked.on("error", () => undefined);
		asked.write(Buffer.alloc(1000));
		await until(() => files.receivedBytes === 1000, "the first bytes arrive");
		asked.destroy();
		await until(() => files.writeError !== undefined, "the write fails");
		assert.equal((files.writeError as { code?: string }).code, "cancelled");
		assert.equal(files.text("/f"), "old");
		assert.deepEqual(server.lines, []);
	});
}

test("a refused upload says why, though its rest is not read", async () => {
	await using server = await startFakeServer();
	const body = Buffer.alloc(4 * MIB);
	const response = await fetch(`${contentUrl(server, "/no/such/f")}`, { method: "PUT", body });
	await expectError(response, 404);
	assert.equal((await fetch(`${server.url}/v1/version`)).status, 200);
});

test("a GET whose client leaves before the answer ends its source", async () => {
	await using server = await startFakeServer();
	const { files } = server.daemon.sandboxes;
	const read = files.read.bind(files);
	const held = Promise.withResolvers<void>();
	files.read = async (...args) => {
		await held.promise;
		return await read(...args);
	};
	const asked = request(contentUrl(server, "/endless"));
	asked.on("error", () => undefined);
	asked.end();
	let closed = false;
	asked.on("close", () => {
		closed = true;
	});
	await new Promise((resolve) => setTimeout(resolve, 50));
	asked.destroy();
	await until(() => closed, "the client has gone");
	await new Promise((resolve) => setTimeout(resolve, 50));
	held.resolve();
	await new Promise((resolve) => setTimeout(resolve, 50));
	assert.equal(files.readBytes, 0);
	assert.deepEqual(server.lines, []);
});

test("a connection goes on after a content, and after a range", async () => {
	await using server = await startFakeServer();
	server.daemon.sandboxes.files.put("/f", { text: "0123456789" });
	const { Agent } = await import("node:http");
	const agent = new Agent({ keepAlive: true, maxSockets: 1 });
	const ports = new Set<number | undefined>();
	for (const headers of [{}, { range: "bytes=1-2" }, { range: "bytes=99-" }, {}]) {
		const asked = request(contentUrl(server, "/f"), { headers, agent });
		asked.end();
		const [response] = (await once(asked, "response")) as [IncomingMessage];
		ports.add(response.socket.localPort);
		response.resume();
		await once(response, "end");
	}
	agent.destroy();
	assert.equal(ports.size, 1);
});
