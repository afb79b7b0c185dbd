import assert from "node:assert/strict";
import { test } from "node:test";
import { buildEvent, layer, layerList, recipeList } from "../schemas/layers.ts";
import { createFakeApi } from "../testing/fake-daemon.ts";
import { expectError, expectEvents, expectJson, postJson, until } from "../testing/requests.ts";

test("layers and recipes are listed, a layer is inspected and removed", async () => {
	const { api } = createFakeApi();
	await expectJson(await api.app.request("/v1/layers"), 200, layerList);
	await expectJson(await api.app.request("/v1/recipes"), 200, recipeList);
	await expectJson(await api.app.request("/v1/layers/100-python3"), 200, layer);
	assert.equal((await api.app.request("/v1/layers/100-python3", { method: "DELETE" })).status, 204);
	await expectError(await api.app.request("/v1/layers/100-other"), 404);
	await expectError(await api.app.request("/v1/layers/..%2Fetc"), 400);
	await expectError(await api.app.request("/v1/layers/python3"), 400);
});

test("an image is imported as a stream", async () => {
	const { api, daemon } = createFakeApi();
	const init = { method: "PUT", body: new Uint8Array(100_000) };
	await expectJson(await api.app.request("/v1/layers/100-mine", init), 201, layer);
	assert.equal(daemon.layers.importedBytes, 100_000);
});

test("a build tells progress and then the layer", async () => {
	const { api } = createFakeApi();
	const response = await api.app.request("/v1/layers/100-python3/build", postJson({}));
	const events = await expectEvents(response, buildEvent);
	assert.equal(events[0]?.type, "progress");
	assert.equal(events.at(-2)?.percent, 100);
	assert.equal(events.at(-1)?.type, "layer");
});

test("a slow reader of a build is told the newest progress, not all of it", async () => {
	const { api } = createFakeApi();
	const response = await api.app.request("/v1/layers/100-python3/build", postJson({}));
	assert.equal((await expectEvents(response, buildEvent)).length, 2);
});

test("a build that fails ends in an error event", async () => {
	const { api } = createFakeApi();
	const response = await api.app.request("/v1/layers/100-bad/build", postJson({}));
	assert.deepEqual((await expectEvents(response, buildEvent)).at(-1), {
		type: "error",
		code: "unavailable",
		message: "the archive does not answer",
	});
});

test("leaving a build cancels it", async () => {
	const { api, daemon } = createFakeApi();
	const response = await api.app.request("/v1/layers/100-slow/build", postJson({}));
	const reader = response.body?.getReader();
	const pending = reader?.read();
	await until(() => daemon.layers.buildSignal !== undefined, "the build has begun");
	await reader?.cancel();
	await pending;
	assert.equal(daemon.layers.buildSignal?.aborted, true);
});
