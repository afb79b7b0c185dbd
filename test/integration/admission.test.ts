/** A host without room refuses a sandbox, says what is short, and takes one again when there is room. */
import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { describe, it } from "node:test";
import { readFreeDiskMiB } from "../../src/linux/host-resources.ts";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

const skip = missingRoot() || missingLayers(...TEST_LAYERS);

/** The details of a create that is refused for want of room. */
async function refusal(daemon: TestDaemon, request: Record<string, unknown>): Promise<unknown> {
	const response = await fetch(`${daemon.url}/v1/sandboxes`, {
		method: "POST",
		headers: { "content-type": "application/json" },
		body: JSON.stringify(request),
	});
	const body = (await response.json()) as Record<string, unknown>;
	assert.deepEqual([response.status, body.code], [429, "resource_exhausted"], JSON.stringify(body));
	assert.ok(Number(response.headers.get("retry-after")) > 0);
	return body.details;
}

async function metric(daemon: TestDaemon, sample: string): Promise<number> {
	const text = await (await fetch(`${daemon.url}/metrics`)).text();
	const line = text.split("\n").find((one) => one.startsWith(`${sample} `));
	return Number(line?.split(" ").at(-1));
}

describe("admission", { skip }, () => {
	it("refuses one more than the most, leaves nothing of it, and takes one when another is gone", async (t) => {
		const daemon = await startTestDaemon(TEST_LAYERS, { SHALE_MAX_SANDBOXES: "1" });
		t.after(() => daemon.stop());
		await daemon.create({ id: "first" });
		assert.deepEqual(await refusal(daemon, { id: "second" }), {
			resource: "sandboxes",
			available: 0,
			threshold: 1,
		});
		assert.equal((await daemon.request("GET", "/v1/sandboxes/second")).status, 404);
		assert.equal(await metric(daemon, 'shale_admission_refusals_total{resource="sandboxes"}'), 1);
		assert.equal(await metric(daemon, 'shale_sandboxes{state="running"}'), 1);
		await daemon.request("DELETE", "/v1/sandboxes/first");
		await daemon.create({ id: "second" });
		assert.equal((await daemon.exec("second", ["echo", "in"])).stdout, "in\n");
		await daemon.request("DELETE", "/v1/sandboxes/second");
	});

	it("does not promise disk uppers more than there is, and takes one again when a promise is given back", async (t) => {
		const spareMiB = 20_000;
		const free = readFreeDiskMiB(tmpdir());
		if (free < 2 * spareMiB) return t.skip(`needs ${2 * spareMiB} MiB of free disk`);
		const daemon = await startTestDaemon(TEST_LAYERS, { SHALE_MIN_FREE_DISK_MIB: String(free - spareMiB) });
		t.after(() => daemon.stop());
		const upper = (id: string) => ({ id, upper: "disk", limits: { diskMiB: 12_000 } });
		await daemon.create(upper("first"));
		const { resource, available, threshold } = (await refusal(daemon, upper("second"))) as Record<
			string,
			number
		>;
		assert.equal(resource, "disk");
		assert.ok(Number(available) < Number(threshold));
		await daemon.create({ id: "in-memory" });
		await daemon.request("DELETE", "/v1/sandboxes/first");
		await daemon.create(upper("second"));
		for (const id of ["second", "in-memory"]) await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	it("lets nobody in on a host with less memory than is kept", async (t) => {
		const daemon = await startTestDaemon(TEST_LAYERS, { SHALE_MIN_FREE_MEMORY_MIB: "100000000" });
		t.after(() => daemon.stop());
		const { resource } = (await refusal(daemon, {})) as Record<string, unknown>;
		assert.equal(resource, "memory");
		assert.deepEqual((await daemon.request("GET", "/v1/sandboxes")).json.sandboxes, []);
	});
});
