import assert from "node:assert/strict";
import { test } from "node:test";
import { ROUTES } from "./routes/index.ts";
import { createFakeApi } from "./testing/fake-daemon.ts";
import { expectError, postJson } from "./testing/requests.ts";

const TOKEN = "0123456789abcdef";

test("with a token, every route but the open ones needs it, before anything else is looked at", async () => {
	const { api, daemon } = createFakeApi({ token: TOKEN });
	for (const { method, path, open } of ROUTES) {
		const url = path
			.replace("{id}", "A")
			.replace("{pid}", "A")
			.replace("{name}", "A")
			.replace("{file}", "start.js");
		const response = await api.app.request(url, { method });
		if (open) assert.equal(response.status, 200, path);
		else {
			assert.equal(response.headers.get("www-authenticate"), "Bearer");
			assert.equal((await expectError(response, 401)).code, "unauthenticated", path);
		}
	}
	assert.deepEqual(daemon.sandboxes.created, []);
	const authorization = `Bearer ${TOKEN}`;
	assert.equal((await api.app.request("/v1/version", { headers: { authorization } })).status, 200);
	await expectError(
		await api.app.request("/v1/version", { headers: { authorization: "Bearer wrong" } }),
		401,
	);
});

test("without a token, foreign hosts and pages are refused on every route", async () => {
	const { api } = createFakeApi();
	for (const path of ["/v1/version", "/healthz", "/nothing"]) {
		await expectError(await api.app.request(path, { headers: { host: "evil.example" } }), 403);
		await expectError(await api.app.request(path, { headers: { origin: "http://evil.example" } }), 403);
	}
	assert.equal((await api.app.request("/healthz", { headers: { host: "[::1]:7522" } })).status, 200);
});

test("an unknown path is not_found in the shape of all errors", async () => {
	const { api } = createFakeApi();
	const error = await expectError(await api.app.request("/v1/containers"), 404);
	assert.deepEqual([error.code, error.message], ["not_found", "nothing is at /v1/containers"]);
	const hidden = createFakeApi({ token: TOKEN });
	await expectError(await hidden.api.app.request("/v1/containers"), 401);
});

test("a wrong method is told the right ones", async () => {
	const { api } = createFakeApi();
	const cases = [
		["PATCH", "/v1/sandboxes/sb-1", /allowed: GET, DELETE$/],
		["DELETE", "/v1/sandboxes", /allowed: POST, GET$/],
		["HEAD", "/v1/sandboxes/sb-1/processes/p-1/output", undefined],
	] as const;
	for (const [method, path, message] of cases) {
		const response = await api.app.request(path, { method });
		assert.equal(response.status, 404);
		if (message) assert.match((await expectError(response, 404)).message, message);
	}
});

test("HEAD answers as GET without a body", async () => {
	const { api } = createFakeApi();
	const response = await api.app.request("/healthz", { method: "HEAD" });
	assert.deepEqual([response.status, await response.text()], [200, ""]);
});

test("JSON must be declared, valid, and UTF-8", async () => {
	const { api } = createFakeApi();
	const cases: readonly (readonly [RequestInit, RegExp])[] = [
		[{ body: "{}" }, /^the Content-Type header must be application\/json, not text\/plain/],
		[{ body: "{}", headers: { "content-type": "application/jsonx" } }, /Content-Type/],
		[{ ...postJson({}), body: "{" }, /^the body is not JSON: /],
		[{ ...postJson({}), body: "" }, /^the body is not JSON: /],
		[{ ...postJson({}), body: Buffer.from('{"name":"\xff"}', "latin1") }, /^the body is not valid UTF-8/],
		[{ ...postJson({}), body: "[]" }, /^must be an object/],
	];
	for (const [init, message] of cases) {
		const response = await api.app.request("/v1/sandboxes", { method: "POST", ...init });
		assert.match((await expectError(response, 400)).message, message);
	}
	const charset = { "content-type": "Application/JSON; charset=utf-8" };
	assert.equal((await api.app.request("/v1/sandboxes", postJson({}, charset))).status, 201);
});

test("a body over the limit is too_large, declared or not", async () => {
	const { api } = createFakeApi();
	const huge = JSON.stringify({ argv: ["cat"], stdin: "x".repeat(9 * 1024 * 1024) });
	const headers = { "content-type": "application/json" };
	const path = "/v1/sandboxes/sb-1/exec";
	await expectError(await api.app.request(path, { method: "POST", body: huge, headers }), 413);
	const declared = { ...headers, "content-length": String(huge.length) };
	await expectError(await api.app.request(path, { method: "POST", body: huge, headers: declared }), 413);
});

test("names that objects have by themselves are refused or kept, never lost", async () => {
	const { api } = createFakeApi();
	const headers = { "content-type": "application/json" };
	const body = '{"argv":["id"],"__proto__":{"user":"0"}}';
	const error = await expectError(
		await api.app.request("/v1/sandboxes/sb-1/exec", { method: "POST", body, headers }),
		400,
	);
	assert.match(error.message, /^unknown field "__proto__"/);
});
