import assert from "node:assert/strict";
import { test } from "node:test";
import { sandbox, sandboxPage, sandboxStats } from "../schemas/sandboxes.ts";
import { createFakeApi } from "../testing/fake-daemon.ts";
import { expectError, expectJson, postJson } from "../testing/requests.ts";

test("create passes the request to the core and answers 201", async () => {
	const { api, daemon } = createFakeApi();
	const wanted = { id: "box", labels: { team: "web" }, limits: { memoryMiB: 64 } };
	await expectJson(await api.app.request("/v1/sandboxes", postJson(wanted)), 201, sandbox);
	assert.deepEqual(daemon.sandboxes.created, [wanted]);
});

test("errors of the core keep their status, message and hint", async () => {
	const { api, lines } = createFakeApi();
	const error = await expectError(await api.app.request("/v1/sandboxes", postJson({ id: "taken" })), 409);
	assert.deepEqual(error, { code: "conflict", message: "sandbox taken exists", hint: "Choose another." });
	assert.deepEqual(lines, []);
});

test("an internal error is logged once and told without internals", async () => {
	const { api, lines } = createFakeApi();
	const error = await expectError(await api.app.request("/v1/sandboxes/broken"), 500);
	assert.deepEqual(error, { code: "internal", message: "a fault of Shale; the daemon's log says more" });
	assert.equal(lines.length, 1);
	assert.match(lines[0] ?? "", /shale\.db is malformed/);
});

test("list reads its filters from the query", async () => {
	const { api, daemon } = createFakeApi();
	const path = "/v1/sandboxes?label=team%3Dweb&label=a%3Db%3Dc&state=running&limit=10&cursor=x";
	await expectJson(await api.app.request(path), 200, sandboxPage);
	const labels = { team: "web", a: "b=c" };
	assert.deepEqual(daemon.sandboxes.listed, [{ labels, state: "running", limit: 10, cursor: "x" }]);
});

test("a wrong query is refused by name", async () => {
	const { api } = createFakeApi();
	for (const [query, message] of [
		["limit=1001", /^limit: must be at most 1000/],
		["limit=1&limit=2", /^limit: must be given once/],
		["color=red", /^unknown field "color"; known fields are label, name, state, limit, cursor$/],
		["label=a%3D1&label=a%3D2", /^label: a is given twice/],
	] as const) {
		assert.match((await expectError(await api.app.request(`/v1/sandboxes?${query}`), 400)).message, message);
	}
	const error = await expectError(await api.app.request("/v1/sandboxes/sb-1?x=1"), 400);
	assert.match(error.message, /^unknown query parameter "x"/);
});

test("get, stats, plan and destroy answer for a sandbox and not for others", async () => {
	const { api, daemon } = createFakeApi();
	await expectJson(await api.app.request("/v1/sandboxes/sb-1"), 200, sandbox);
	await expectJson(await api.app.request("/v1/sandboxes/sb-1/stats"), 200, sandboxStats);
	const plan = await api.app.request("/v1/sandboxes/sb-1/plan");
	assert.equal(plan.headers.get("content-type"), "text/plain; charset=utf-8");
	assert.match(await plan.text(), /^clone /);
	const destroyed = await api.app.request("/v1/sandboxes/sb-1", { method: "DELETE" });
	assert.equal(destroyed.status, 204);
	assert.equal(await destroyed.text(), "");
	assert.deepEqual(daemon.sandboxes.destroyed, ["sb-1"]);
	assert.equal((await expectError(await api.app.request("/v1/sandboxes/sb-2"), 404)).code, "not_found");
});

test("stop, start and extend answer with the sandbox, and an end is a whole number of ms or none", async () => {
	const { api, daemon } = createFakeApi();
	const post = (action: string, body?: unknown) =>
		api.app.request(`/v1/sandboxes/sb-1/${action}`, body ? postJson(body) : { method: "POST" });
	const stopped = await expectJson(await post("stop"), 200, sandbox);
	assert.equal((stopped as { state: string }).state, "stopped");
	await expectJson(await post("start"), 200, sandbox);
	await expectJson(await post("extend", { lifetimeMs: 1000 }), 200, sandbox);
	await expectJson(await post("extend", { lifetimeMs: null }), 200, sandbox);
	assert.deepEqual(daemon.sandboxes.extended, [1000, null]);
	for (const body of [
		{},
		{ lifetimeMs: 0 },
		{ lifetimeMs: 1.5 },
		{ lifetimeMs: "1h" },
		{ lifetimeMs: 1e15 },
	]) {
		assert.match((await expectError(await post("extend", body), 400)).message, /^lifetimeMs: /);
	}
	assert.equal(
		(await expectError(await api.app.request("/v1/sandboxes/sb-2/stop", { method: "POST" }), 404)).code,
		"not_found",
	);
});

test("create takes lifetime, idle time and what the end is", async () => {
	const { api, daemon } = createFakeApi();
	const wanted = { lifetimeMs: 60_000, idleTimeoutMs: 5_000, onExpiry: "stop", upper: "disk" };
	await expectJson(await api.app.request("/v1/sandboxes", postJson(wanted)), 201, sandbox);
	assert.deepEqual(daemon.sandboxes.created, [wanted]);
	const error = await expectError(
		await api.app.request("/v1/sandboxes", postJson({ onExpiry: "sleep" })),
		400,
	);
	assert.match(error.message, /^onExpiry: /);
});

test("ids that are none are refused, also when encoded", async () => {
	const { api } = createFakeApi();
	for (const id of ["..%2Fetc", "A", "a%00", "-a", "%E0%A4%A", "a%2Fb"]) {
		const error = await expectError(await api.app.request(`/v1/sandboxes/${id}/stats`), 400);
		assert.match(error.message, /^id in the path: must be 1 to 64/);
	}
	// URLs are normalized before they are looked at: this one is /v1/stats.
	await expectError(await api.app.request("/v1/sandboxes/%2E%2E/stats"), 404);
});

test("a plan is explained without making anything", async () => {
	const { api, daemon } = createFakeApi();
	const plan = await api.app.request("/v1/plan", postJson({}));
	assert.equal(plan.status, 200);
	assert.match(await plan.text(), /^clone /);
	assert.deepEqual(daemon.sandboxes.created, []);
});
