import assert from "node:assert/strict";
import { test } from "node:test";
import { doctorReport, health, version } from "../schemas/daemon.ts";
import { createFakeApi } from "../testing/fake-daemon.ts";
import { expectError, expectJson } from "../testing/requests.ts";

test("the daemon tells its health, version and report", async () => {
	const { api } = createFakeApi();
	await expectJson(await api.app.request("/healthz"), 200, health);
	await expectJson(await api.app.request("/v1/version"), 200, version);
	await expectJson(await api.app.request("/v1/doctor"), 200, doctorReport);
});

test("metrics come in Prometheus' text format", async () => {
	const { api } = createFakeApi();
	const response = await api.app.request("/metrics");
	assert.equal(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
	assert.match(await response.text(), /^# TYPE shale_sandboxes gauge$/m);
});

test("the document is served with the daemon's version", async () => {
	const { api } = createFakeApi();
	const document = (await (await api.app.request("/openapi.json")).json()) as { info: { version: string } };
	assert.equal(document.info.version, "0.1.0");
});

test("the page loads nothing from elsewhere, and its policy says so", async () => {
	const { api } = createFakeApi();
	const response = await api.app.request("/docs");
	const policy = response.headers.get("content-security-policy") ?? "";
	assert.match(policy, /default-src 'none'; script-src 'self';/);
	const page = await response.text();
	assert.doesNotMatch(page, /https?:|<script>/);
	for (const [, path] of page.matchAll(/(?:src|href)="(\/[^"]+)"/g)) {
		assert.equal((await api.app.request(path ?? "")).status, 200, path);
	}
});

test("only the page's own files are served", async () => {
	const { api } = createFakeApi();
	await expectError(await api.app.request("/docs/package.js"), 404);
	await expectError(await api.app.request("/docs/..%2F..%2Fpackage.json"), 400);
});
