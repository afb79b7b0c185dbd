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

/** One that has written 6 bytes to stdout and 2 to stderr, and runs. */
async function startGreeting() {
	const fake = await start(["greet"]);
	await until(() => fake.daemon.sandboxes.last.ends.stderr === 2, "the greeting");
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

test("the same start again starts nothing and is 200; another one under its id is a conflict", async () => {
	const { api, daemon } = await start(["sleep"]);
	const again = await api.app.request(PATH, postJson({ id: "p-1", argv: ["sleep"] }));
	await expectJson(again, 200, processInfo);
	assert.equal(daemon.sandboxes.processes.length, 1);
	await expectError(await api.app.request(PATH, postJson({ id: "p-1", argv: ["echo"] })), 409);
});

function post(body: string | ReadableStream<Uint8Array>) {
	return { method: "POST", body, duplex: "half" } as RequestInit;
}

test("stdin is written as it comes, closed when asked, and then a conflict", async () => {
	const { api, daemon } = createFakeApi();
	await api.app.request(PATH, postJson({ id: "p-1", argv: ["cat"], stdin: true }));
	assert.equal((await api.app.request(`${PATH}/p-1/stdin`, post("one "))).status, 204);
	assert.equal((await api.app.request(`${PATH}/p-1/stdin?close=true`, post("two"))).status, 204);
	assert.equal(Buffer.concat(daemon.sandboxes.last.stdin).toString(), "one two");
	await expectError(await api.app.request(`${PATH}/p-1/stdin`, post("x")), 409);
	const events = await expectEvents(await api.app.request(`${PATH}/p-1/output?follow=true`), processEvent);
	assert.deepEqual(events.at(-1)?.exitCode, 0);
});

test("a program that does not read slows the request that writes to it", async () => {
	const { api, daemon } = createFakeApi();
	await api.app.request(PATH, postJson({ id: "p-1", argv: ["cat"], stdin: true }));
	const reading = Promise.withResolvers<void>();
	daemon.sandboxes.last.stdinBlocked = reading.promise;
	let pulled = 0;
	const body = new ReadableStream<Uint8Array>(
		{
			pull(controller) {
				if (pulled++ < 100) controller.enqueue(new Uint8Array(65_536));
				else controller.close();
			},
		},
		{ highWaterMark: 0 },
	);
	const answer = api.app.request(`${PATH}/p-1/stdin`, post(body));
	await new Promise((resolve) => setTimeout(resolve, 100));
	assert.ok(pulled < 10, `${pulled} pieces were taken`);
	reading.resolve();
	assert.equal((await answer).status, 204);
	assert.equal(daemon.sandboxes.last.stdinEnd, 100 * 65_536);
});

test("a process without stdin refuses it", async () => {
	const { api } = await start(["sleep"]);
	await expectError(await api.app.request(`${PATH}/p-1/stdin`, post("x")), 409);
	await expectError(await api.app.request(`${PATH}/p-2/stdin`, post("x")), 404);
});

test("a terminal is resized", async () => {
	const { api, daemon } = await start(["sleep"]);
	const path = `${PATH}/p-1/resize`;
	assert.equal((await api.app.request(path, postJson({ columns: 100, rows: 30 }))).status, 204);
	assert.deepEqual(daemon.sandboxes.last.sizes, ["100x30"]);
	await expectError(await api.app.request(path, postJson({ columns: 0, rows: 30 })), 400);
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
	const { api, daemon } = await start(["echo", "hi"]);
	await until(() => daemon.sandboxes.last.exit !== undefined, "the exit");
	const events = await expectEvents(await api.app.request(`${PATH}/p-1/output`), processEvent);
	assert.deepEqual(
		events.map(({ type }) => type),
		["stdout", "exit"],
	);
});

test("what a running process has written so far ends with `end`, and lets it run", async () => {
	const { api, daemon } = await startGreeting();
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
	const { api } = await startGreeting();
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
	for (const query of [
		"stdoutAfter=-1",
		"stderrAfter=x",
		"follow=1",
		"stdoutAfter=99999999999999999",
		"tail=1&stdoutAfter=1",
	]) {
		await expectError(await api.app.request(`${PATH}/p-1/output?${query}`), 400);
	}
});

/** One of which only the last 10 of 20 bytes are kept. */
async function startForgetful() {
	const fake = createFakeApi();
	await fake.api.app.request(PATH, postJson({ id: "p-1", argv: ["cat"], stdin: true }));
	const { last } = fake.daemon.sandboxes;
	last.ringBytes = 10;
	for (const part of ["0123456789", "abcdefghij"]) await last.writeStdin(Buffer.from(part));
	await until(() => last.ends.stdout === 20, "the output");
	return fake;
}

test("what is no longer kept is told as dropped, or as gone to those who ask for it by offset", async () => {
	const { api } = await startForgetful();
	assert.deepEqual(await expectEvents(await api.app.request(`${PATH}/p-1/output`), processEvent), [
		{ type: "dropped", stream: "stdout", bytes: 10, offset: 0 },
		{ type: "stdout", offset: 10, text: "abcdefghij" },
		{ type: "end" },
	]);
	const gone = await expectError(await api.app.request(`${PATH}/p-1/output?stdoutAfter=9`), 410);
	assert.deepEqual(gone.details, { stdoutStart: 10 });
});

test("the newest bytes are read without a word about older ones", async () => {
	const { api } = await startForgetful();
	assert.deepEqual(await expectEvents(await api.app.request(`${PATH}/p-1/output?tail=4`), processEvent), [
		{ type: "stdout", offset: 16, text: "ghij" },
		{ type: "end" },
	]);
});

test("a follower that falls behind is told what it has missed, with the character that was cut", async () => {
	const { api, daemon } = createFakeApi();
	await api.app.request(PATH, postJson({ id: "p-1", argv: ["cat"], stdin: true }));
	const { last } = daemon.sandboxes;
	last.ringBytes = 4;
	const response = await api.app.request(`${PATH}/p-1/output?follow=true`);
	const reader = response.body?.getReader();
	const first = reader?.read();
	await last.writeStdin(Buffer.from([0x61, 0xc3]));
	await first;
	for (const part of ["1234", "5678"]) await last.writeStdin(Buffer.from(part));
	await until(() => last.ends.stdout === 10, "the output");
	last.closeStdin();
	const lines: unknown[] = [];
	for (let part = await reader?.read(); part?.value; part = await reader?.read()) {
		lines.push(JSON.parse(Buffer.from(part.value).toString()));
	}
	assert.deepEqual(lines.slice(0, 3), [
		{ type: "stdout", offset: 1, base64: "ww==" },
		{ type: "dropped", stream: "stdout", bytes: 4, offset: 2 },
		{ type: "stdout", offset: 6, text: "5678" },
	]);
});
