import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog, type SandboxEvent } from "./events.ts";

function createLog(capacity = 1000): EventLog {
	return new EventLog({ capacity, epoch: "e1", now: () => new Date(0) });
}

/** The next events, as `id type`. */
async function take(reader: AsyncIterator<SandboxEvent>, count: number): Promise<string[]> {
	const seen: string[] = [];
	for (let n = 0; n < count; n++) {
		const { value } = await reader.next();
		seen.push(`${value?.id} ${value?.type}`);
	}
	return seen;
}

test("a reader sees what happens from now on, with its facts", async () => {
	const log = createLog();
	log.emit("sandbox.created", { sandboxId: "a" });
	const reader = log.subscribe();
	const next = reader.next();
	log.emit("sandbox.failed", { sandboxId: "a", reason: "killed" });
	assert.deepEqual((await next).value, {
		id: "e1-2",
		type: "sandbox.failed",
		at: "1970-01-01T00:00:00.000Z",
		sandboxId: "a",
		reason: "killed",
	});
});

test("a reader goes on after the last event that it saw, whatever happened meanwhile", async () => {
	const log = createLog();
	for (const type of ["sandbox.created", "sandbox.running", "sandbox.destroyed"] as const) log.emit(type);
	assert.deepEqual(await take(log.subscribe("e1-1"), 2), ["e1-2 sandbox.running", "e1-3 sandbox.destroyed"]);
	const reader = log.subscribe("e1-3");
	const next = reader.next();
	log.emit("sandbox.created");
	assert.equal((await next).value?.id, "e1-4");
});

for (const [what, id] of [
	["of another daemon", "e0-2"],
	["from the future", "e1-9"],
	["that is none", "x; DROP"],
	["that is empty", ""],
	["that is no longer kept", "e1-1"],
] as const) {
	test(`an id ${what} is answered by a reset and all that is kept`, async () => {
		const log = createLog(2);
		for (let n = 0; n < 4; n++) log.emit("sandbox.created");
		assert.deepEqual(await take(log.subscribe(id), 3), [
			"e1-2 reset",
			"e1-3 sandbox.created",
			"e1-4 sandbox.created",
		]);
	});
}

test("the id of a reset can be gone on from", async () => {
	const log = createLog(2);
	for (let n = 0; n < 4; n++) log.emit("sandbox.created");
	assert.deepEqual(await take(log.subscribe("e1-2"), 1), ["e1-3 sandbox.created"]);
});

test("a reader that falls behind by more than the log is told and goes on with what is kept", async () => {
	const log = createLog(3);
	const reader = log.subscribe();
	for (let n = 0; n < 100; n++) log.emit("sandbox.created");
	assert.deepEqual(await take(reader, 2), ["e1-97 reset", "e1-98 sandbox.created"]);
});

test("a reader that waits can leave, and is then over", async () => {
	const log = createLog();
	const reader = log.subscribe();
	const next = reader.next();
	await reader.return?.();
	assert.deepEqual(await next, { done: true, value: undefined });
	log.emit("sandbox.created");
	assert.equal((await reader.next()).done, true);
});

test("events are counted by type beyond those that are kept", () => {
	const log = createLog(1);
	for (let n = 0; n < 3; n++) log.emit("sandbox.created");
	assert.equal(log.count("sandbox.created"), 3);
	assert.equal(log.count("host.leak"), 0);
});
