import assert from "node:assert/strict";
import { test } from "node:test";
import { ShaleError } from "../../lib/errors.ts";
import { garbageReport, sandboxEvent } from "../schemas/operations.ts";
import { createFakeApi } from "../testing/fake-daemon.ts";
import { expectError, expectJson, postJson } from "../testing/requests.ts";

/** The first `count` events of an answer, each held against its schema; then the client leaves. */
async function readEvents(response: Response, count: number): Promise<string[]> {
	assert.equal(response.status, 200);
	assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
	const seen: string[] = [];
	let text = "";
	for await (const part of response.body ?? []) {
		text += Buffer.from(part).toString();
		for (const [, id, name, data] of text.matchAll(/id: (.*)\nevent: (.*)\ndata: (.*)\n\n/g)) {
			const event = sandboxEvent.parse(JSON.parse(data ?? ""));
			assert.deepEqual([event.id, event.type], [id, name]);
			seen.push(`${event.id} ${event.type} ${event.sandboxId ?? "-"}`);
		}
		text = "";
		if (seen.length >= count) break;
	}
	return seen;
}

test("events are told as they happen, and chosen by sandbox and by type", async () => {
	const { api, daemon } = createFakeApi();
	const all = readEvents(await api.app.request("/v1/events"), 3);
	const ofOne = readEvents(await api.app.request("/v1/events?sandbox=b"), 1);
	const ofTypes = readEvents(await api.app.request("/v1/events?type=sandbox.failed&type=host.leak"), 2);
	daemon.events.emit("sandbox.created", { sandboxId: "a" });
	daemon.events.emit("sandbox.failed", { sandboxId: "b", reason: "killed" });
	daemon.events.emit("host.leak", { resource: { kind: "file", name: "/x" } });
	assert.deepEqual(await all, ["e-1 sandbox.created a", "e-2 sandbox.failed b", "e-3 host.leak -"]);
	assert.deepEqual(await ofOne, ["e-2 sandbox.failed b"]);
	assert.deepEqual(await ofTypes, ["e-2 sandbox.failed b", "e-3 host.leak -"]);
});

test("a client goes on from the last event that it saw, or is told that it cannot", async () => {
	const { api, daemon } = createFakeApi();
	for (const sandboxId of ["a", "b", "c"]) daemon.events.emit("sandbox.created", { sandboxId });
	const after = (id: string) => api.app.request("/v1/events?sandbox=c", { headers: { "last-event-id": id } });
	assert.deepEqual(await readEvents(await after("e-1"), 1), ["e-3 sandbox.created c"]);
	assert.deepEqual(await readEvents(await after("older-7"), 2), ["e-0 reset -", "e-3 sandbox.created c"]);
});

test("a wrong filter is refused by name, and so is HEAD, whose stream nobody would end", async () => {
	const { api } = createFakeApi();
	const wrongType = await expectError(await api.app.request("/v1/events?type=sandbox.exploded"), 400);
	assert.match(wrongType.message, /^type\[0\]: must be one of sandbox\.created, /);
	await expectError(await api.app.request("/v1/events?sandbox=A"), 400);
	await expectError(await api.app.request("/v1/events?color=red"), 400);
	assert.equal((await api.app.request("/v1/events", { method: "HEAD" })).status, 404);
});

test("gc collects, or only lists", async () => {
	const { api, daemon } = createFakeApi();
	const removed = await expectJson(await api.app.request("/v1/gc", postJson({})), 200, garbageReport);
	assert.equal((removed as { dryRun: boolean }).dryRun, false);
	const listed = await expectJson(
		await api.app.request("/v1/gc", postJson({ dryRun: true })),
		200,
		garbageReport,
	);
	assert.equal((listed as { dryRun: boolean }).dryRun, true);
	assert.deepEqual(daemon.collected, [false, true]);
	await expectError(await api.app.request("/v1/gc", postJson({ dry: true })), 400);
});

test("a host without room answers 429 and when to ask again", async () => {
	const { api, daemon } = createFakeApi();
	const details = { resource: "memory", available: 10, threshold: 256 };
	daemon.sandboxes.create = () =>
		Promise.reject(new ShaleError("resource_exhausted", "no room", { details }));
	const response = await api.app.request("/v1/sandboxes", postJson({}));
	assert.equal(response.headers.get("retry-after"), "5");
	const error = await expectError(response, 429);
	assert.deepEqual(error, { code: "resource_exhausted", message: "no room", details });
});
