import assert from "node:assert/strict";
import { test } from "node:test";
import { execResult, processEvent } from "../schemas/processes.ts";
import { createFakeApi } from "../testing/fake-daemon.ts";
import { expectError, expectEvents, expectJson, postJson, until } from "../testing/requests.ts";

const PATH = "/v1/sandboxes/sb-1/exec";
const EVENTS = { accept: "application/x-ndjson" };

test("a captured exec answers with its output as text, invalid bytes as U+FFFD", async () => {
	const { api, daemon } = createFakeApi();
	const body = await expectJson(await api.app.request(PATH, postJson({ argv: ["id"] })), 200, execResult);
	const { stdout, encoding } = body as { stdout: string; encoding: string };
	assert.deepEqual({ stdout, encoding }, { stdout: "h\ufffdi", encoding: "utf8" });
	assert.deepEqual(daemon.sandboxes.executed, [{ argv: ["id"] }]);
});

test("a captured exec answers with exact bytes in base64", async () => {
	const { api } = createFakeApi();
	const asked = postJson({ argv: ["id"], encoding: "base64" });
	const { stdout } = (await expectJson(await api.app.request(PATH, asked), 200, execResult)) as {
		stdout: string;
	};
	assert.deepEqual([...Buffer.from(stdout, "base64")], [0x68, 0xff, 0x69]);
});

test("stdin comes as text or as base64, also empty", async () => {
	const { api, daemon } = createFakeApi();
	for (const part of [{ stdin: "ü" }, { stdinBase64: "/wA=" }, { stdin: "" }]) {
		await expectJson(await api.app.request(PATH, postJson({ argv: ["cat"], ...part })), 200, execResult);
	}
	const stdin = daemon.sandboxes.executed.map((request) => request.stdin);
	assert.deepEqual(stdin, [Buffer.from("ü"), Buffer.from([0xff, 0x00]), Buffer.alloc(0)]);
});

test("all fields reach the core", async () => {
	const { api, daemon } = createFakeApi();
	const program = { argv: ["id"], id: "p-7", env: { A: "b" }, workdir: "/tmp", user: "1000", timeoutMs: 5 };
	await api.app.request(PATH, postJson({ ...program, maxOutputBytes: 7 }));
	assert.deepEqual(daemon.sandboxes.executed, [{ ...program, maxOutputBytes: 7 }]);
	await (await api.app.request(PATH, postJson({ ...program, argv: ["echo"] }, EVENTS))).text();
	assert.deepEqual(daemon.sandboxes.last.request, { ...program, argv: ["echo"], stdin: false });
});

test("a streamed exec tells start, output and exit, and is forgotten", async () => {
	const { api, daemon } = createFakeApi();
	const response = await api.app.request(PATH, postJson({ argv: ["echo", "a", "b"] }, EVENTS));
	const events = await expectEvents(response, processEvent);
	assert.deepEqual(
		events.map(({ type }) => type),
		["started", "stdout", "exit"],
	);
	assert.deepEqual(events[1], { type: "stdout", offset: 0, text: "a b\n" });
	await until(() => daemon.sandboxes.last.removed, "the process is forgotten");
	assert.deepEqual(daemon.sandboxes.last.signals, []);
});

test("a streamed exec is fed its stdin, and stdin is closed", async () => {
	const { api } = createFakeApi();
	const response = await api.app.request(
		PATH,
		postJson({ argv: ["cat"], stdin: "x".repeat(200_000) }, EVENTS),
	);
	const events = await expectEvents(response, processEvent);
	const text = events.map((event) => event.text ?? "").join("");
	assert.equal(text.length, 200_000);
});

test("an exec that cannot start is an error with its status, streamed or not", async () => {
	const { api } = createFakeApi();
	const path = "/v1/sandboxes/sb-2/exec";
	await expectError(await api.app.request(path, postJson({ argv: ["echo"] })), 404);
	await expectError(await api.app.request(path, postJson({ argv: ["echo"] }, EVENTS)), 404);
	await expectError(await api.app.request(PATH, postJson({ argv: [] }, EVENTS)), 400);
});

test("a stream that breaks ends in an error event, logged and without internals, and its process is killed", async () => {
	const { api, daemon, lines } = createFakeApi();
	const response = await api.app.request(PATH, postJson({ argv: ["break"] }, EVENTS));
	const events = await expectEvents(response, processEvent);
	assert.deepEqual(events.at(-1), {
		type: "error",
		code: "internal",
		message: "a fault of Shale; the daemon's log says more",
	});
	assert.equal(lines.length, 1);
	await until(() => daemon.sandboxes.last.isKilled, "the process is killed");
});

test("cancelling a streamed exec in-process kills the group and forgets the process", async () => {
	const { api, daemon } = createFakeApi();
	const response = await api.app.request(PATH, postJson({ argv: ["sleep"] }, EVENTS));
	const reader = response.body?.getReader();
	await reader?.read();
	const pending = reader?.read();
	await reader?.cancel();
	await pending;
	await until(() => daemon.sandboxes.last.removed, "the process is forgotten");
	assert.deepEqual(daemon.sandboxes.last.signals, ["SIGKILL"]);
});

test("the WebSocket's path says so to plain requests", async () => {
	const { api } = createFakeApi();
	assert.match((await expectError(await api.app.request(PATH), 400)).message, /WebSocket/);
});

test("an exec that comes while the daemon stops starts nothing: its connection's end would kill the program", async () => {
	const { api, daemon } = createFakeApi();
	api.close();
	const answer = await api.app.request(PATH, postJson({ argv: ["id"], id: "p-7" }));
	assert.equal((await expectError(answer, 503)).code, "unavailable");
	assert.deepEqual(daemon.sandboxes.executed, []);
});
