import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type Sandbox, Shale, ShaleConnectionError, systemErrorCode } from "../../sdk/src/index.ts";
import { collect } from "../../test/support/collect.ts";
import { FakeDaemon } from "../../test/support/fake-daemon.ts";
import { nodeHttp } from "./node-http.ts";

function open(daemon: FakeDaemon): Sandbox {
	return new Shale({ url: daemon.url, http: nodeHttp }).sandboxes.open(daemon.addSandbox());
}

async function until(condition: () => boolean): Promise<void> {
	for (let round = 0; round < 400 && !condition(); round++) await delay(5);
	assert.ok(condition(), "the condition did not come true within 2 s");
}

test("requests, answers and errors are those of fetch", async () => {
	await using daemon = await FakeDaemon.start();
	const sandbox = open(daemon);
	assert.equal((await sandbox.info()).id, "sb-1");
	assert.equal((await sandbox.commands.exec("echo", ["ö"])).stdout, "ö\n");
	await sandbox.kill();
	await assert.rejects(sandbox.info(), { code: "not_found", status: 404, hint: "See ls." });
});

test("bodies are sent as they are, from streams too", async () => {
	await using daemon = await FakeDaemon.start();
	const { layers } = new Shale({ url: daemon.url, http: nodeHttp });
	assert.equal((await layers.import("x", new Blob(["abcde"]))).sizeBytes, 5);
	assert.equal(daemon.requests.at(-1)?.headers["content-length"], "5");
	assert.equal((await layers.import("x", new Blob(["abc"]).stream())).sizeBytes, 3);
	assert.equal((await layers.import("x", new Uint8Array([65, 66]))).sizeBytes, 2);
	const broken = new ReadableStream<Uint8Array>({
		pull: (controller) => controller.error(new Error("disk")),
	});
	await assert.rejects(layers.import("x", broken), { name: "ShaleConnectionError", message: /disk/ });
});

test("aborting and leaving the loop both close the request", async () => {
	await using daemon = await FakeDaemon.start();
	const { commands } = open(daemon);
	const reason = new Error("enough");
	await assert.rejects(commands.exec("echo", [], { signal: AbortSignal.abort(reason) }), reason);
	const abort = new AbortController();
	const onStdout = (): void => abort.abort(reason);
	await assert.rejects(commands.exec("flood", [], { signal: abort.signal, onStdout }), reason);
	await until(() => daemon.killed === 1);
	for await (const event of commands.stream(["flood"])) if (event.type === "output") break;
	await until(() => daemon.killed === 2);
});

test("a broken connection is told, before the answer and in it", async () => {
	const daemon = await FakeDaemon.start();
	const sandbox = open(daemon);
	await assert.rejects(collect(sandbox.commands.stream(["cut"])), ShaleConnectionError);
	await daemon[Symbol.asyncDispose]();
	await assert.rejects(sandbox.info(), (error: unknown) => systemErrorCode(error) === "ECONNREFUSED");
});
