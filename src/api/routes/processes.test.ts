import assert from "node:assert/strict";
import { test } from "node:test";
import { processEvent, processInfo, processList } from "../schemas/processes.ts";
import { createFakeApi } from "../testing/fake-daemon.ts";
import { expectError, expectEvents, expectJson, postJson, until } from "../testing/requests.ts";

const PATH = "/v1/sandboxes/sb-1/processes";

async function start(argv: readonly string[]) {
	const fake = createFakeApi();
	await expectJson(await fake.api.app.request(PATH, postJson({ id: "p-1", argv })), 201, processInfo);
	return fake;
}

test("a background process is started, listed, inspected and forgotten", async () => {
	const { api, daemon } = await start(["sleep"]);
	await expectJson(await api.app.request(PATH), 200, processList);
	await expectJson(await api.app.request(`${PATH}/p-1`), 200, processInfo);
	assert.equal((await api.app.request(`${PATH}/p-1`, { method: "DELETE" })).status, 204);
	assert.ok(daemon.sandboxes.last.removed);
	await expectError(await api.app.request(`${PATH}/p-2`), 404);
});

test("a background process has no stdin to ask for", async () => {
	const { api } = createFakeApi();
	const error = await expectError(await api.app.request(PATH, postJson({ argv: ["cat"], stdin: true })), 400);
	assert.match(error.message, /^unknown field "stdin"/);
});

test("a signal goes to the group unless asked otherwise", async () => {
	const { api, daemon } = await start(["sleep"]);
	for (const body of [{ signal: "SIGTERM" }, { signal: "USR1", group: false }]) {
		assert.equal((await api.app.request(`${PATH}/p-1/signal`, postJson(body))).status, 204);
	}
	assert.deepEqual(daemon.sandboxes.last.signals, ["SIGTERM", "USR1 alone"]);
	await expectError(await api.app.request(`${PATH}/p-1/signal`, postJson({ signal: "NOPE" })), 400);
});

test("the output of a finished process ends with its exit", async () => {
	const { api } = await start(["echo", "hi"]);
	const events = await expectEvents(await api.app.request(`${PATH}/p-1/output`), processEvent);
	assert.deepEqual(
		events.map(({ type }) => type),
		["stdout", "exit"],
	);
});

test("what a running process has written so far ends with `end`, and lets it run", async () => {
	const { api, daemon } = await start(["greet"]);
	const events = await expectEvents(await api.app.request(`${PATH}/p-1/output`), processEvent);
	assert.deepEqual(events, [
		{ type: "stdout", offset: 0, text: "héllo" },
		{ type: "stderr", offset: 0, base64: "/wA=" },
		{ type: "end" },
	]);
	assert.ok(daemon.sandboxes.last.detached);
	assert.deepEqual(daemon.sandboxes.last.signals, []);
});

test("nothing new ends at once", async () => {
	const { api } = await start(["greet"]);
	const path = `${PATH}/p-1/output?stdoutAfter=6&stderrAfter=2`;
	assert.deepEqual(await expectEvents(await api.app.request(path), processEvent), [{ type: "end" }]);
});

test("following goes on until the reader leaves, and the process lives on", async () => {
	const { api, daemon } = await start(["greet"]);
	const response = await api.app.request(`${PATH}/p-1/output?follow=true`);
	const reader = response.body?.getReader();
	await reader?.read();
	await reader?.read();
	const pending = reader?.read();
	await reader?.cancel();
	await pending;
	await until(() => daemon.sandboxes.last.detached, "the reader is detached");
	assert.deepEqual(daemon.sandboxes.last.signals, []);
	assert.equal(daemon.sandboxes.last.removed, false);
});

test("offsets and follow are checked", async () => {
	const { api } = await start(["greet"]);
	for (const query of ["stdoutAfter=-1", "stderrAfter=x", "follow=1", "stdoutAfter=99999999999999999"]) {
		await expectError(await api.app.request(`${PATH}/p-1/output?${query}`), 400);
	}
});
