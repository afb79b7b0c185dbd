/** What only a real server shows: raw requests, uploads, and connections that go on. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import { startFakeServer } from "./testing/fake-daemon.ts";
import { postJson, until } from "./testing/requests.ts";

/** Sends bytes as they are and gives back all that comes until the server closes. */
async function exchange(port: number, text: string): Promise<string> {
	const socket = connect(port, "127.0.0.1");
	let answer = "";
	socket.on("data", (data: Buffer) => {
		answer += data.toString();
	});
	socket.on("error", () => undefined);
	socket.write(text);
	await once(socket, "close");
	return answer;
}

test("a foreign Host header is refused", async () => {
	await using server = await startFakeServer();
	const answer = await exchange(
		server.port,
		"GET /v1/version HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
	);
	assert.match(answer, /^HTTP\/1.1 403 /);
	assert.match(answer, /"code":"forbidden"/);
});

test("a Host header that is no host is refused in the shape of all errors", async () => {
	await using server = await startFakeServer();
	const answer = await exchange(
		server.port,
		"GET /v1/version HTTP/1.1\r\nHost: a/b@c\r\nConnection: close\r\n\r\n",
	);
	assert.match(answer, /^HTTP\/1.1 400 /);
	assert.match(answer, /"code":"invalid_argument"/);
});

test("a chunked body is counted and cut off at the limit", async () => {
	await using server = await startFakeServer();
	const headers = { "content-type": "application/json", "transfer-encoding": "chunked" };
	const asked = request(`${server.url}/v1/sandboxes`, { method: "POST", headers });
	const part = Buffer.alloc(1024 * 1024, " ");
	const answered = once(asked, "response") as Promise<[IncomingMessage]>;
	asked.on("error", () => undefined);
	for (let count = 0; count < 9; count++) asked.write(part);
	const [response] = await answered;
	assert.equal(response.statusCode, 413);
	response.resume();
	asked.destroy();
});

test("a chunked body within the limit is read", async () => {
	await using server = await startFakeServer();
	const headers = { "content-type": "application/json", "transfer-encoding": "chunked" };
	const asked = request(`${server.url}/v1/sandboxes`, { method: "POST", headers });
	asked.write('{"id":');
	asked.end('"box"}');
	const [response] = (await once(asked, "response")) as [IncomingMessage];
	assert.equal(response.statusCode, 201);
	response.resume();
	assert.deepEqual(server.daemon.sandboxes.created, [{ id: "box" }]);
});

test("a layer's upload is streamed, and a bad image is told though its rest is not read", async () => {
	await using server = await startFakeServer();
	const body = Buffer.alloc(3 * 1024 * 1024);
	const put = (name: string) => fetch(`${server.url}/v1/layers/${name}`, { method: "PUT", body });
	const good = await put("100-mine");
	assert.equal(good.status, 201);
	assert.equal(((await good.json()) as { sizeBytes: number }).sizeBytes, body.length);
	const bad = await put("100-bad");
	assert.equal(bad.status, 422);
	assert.equal(((await bad.json()) as { code: string }).code, "layer_damaged");
});

test("an upload that breaks off fails in the store, and nothing is answered as whole", async () => {
	await using server = await startFakeServer();
	const asked = request(`${server.url}/v1/layers/100-mine`, {
		method: "PUT",
		headers: { "content-length": "1000000" },
	});
	asked.on("error", () => undefined);
	asked.write(Buffer.alloc(1000));
	await until(() => server.daemon.layers.importedBytes === 1000, "the first bytes arrive");
	asked.destroy();
	await until(() => server.daemon.layers.importError !== undefined, "the import fails");
	assert.equal((server.daemon.layers.importError as { code?: string }).code, "cancelled");
	assert.deepEqual(server.lines, []);
});

test("a JSON body that breaks off is nobody's fault, and is not logged as one", async () => {
	await using server = await startFakeServer();
	const headers = { "content-type": "application/json", "content-length": "1000" };
	const asked = request(`${server.url}/v1/sandboxes`, { method: "POST", headers });
	asked.on("error", () => undefined);
	asked.write("{");
	await new Promise((resolve) => setTimeout(resolve, 50));
	asked.destroy();
	await new Promise((resolve) => setTimeout(resolve, 50));
	assert.deepEqual(server.lines, []);
});

test("a connection is used again after an error", async () => {
	await using server = await startFakeServer();
	const agent = new Agent({ keepAlive: true, maxSockets: 1 });
	const ports = new Set<number | undefined>();
	for (const value of [{ argv: [] }, { argv: ["id"] }, { unknown: 1 }, { argv: ["id"] }]) {
		const { method, headers, body } = postJson(value);
		const asked = request(`${server.url}/v1/sandboxes/sb-1/exec`, { method, headers, agent });
		asked.end(body);
		const [response] = (await once(asked, "response")) as [IncomingMessage];
		ports.add(response.socket.localPort);
		response.resume();
		await once(response, "end");
	}
	agent.destroy();
	assert.equal(ports.size, 1);
});

test("an offered h2c upgrade is answered in HTTP/1.1", async () => {
	await using server = await startFakeServer();
	const headers = {
		connection: "upgrade, http2-settings",
		upgrade: "h2c",
		"http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA",
	};
	const asked = request(`${server.url}/v1/version`, { headers });
	asked.end();
	const [response] = (await once(asked, "response")) as [IncomingMessage];
	assert.equal(response.statusCode, 200);
	response.resume();
});
