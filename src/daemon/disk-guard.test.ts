import assert from "node:assert/strict";
import { test } from "node:test";
import { DiskGuard } from "./disk-guard.ts";

const NEVER = new AbortController().signal;

/** Ends with the reason when it is aborted, and by itself never. */
function untilAborted(signal: AbortSignal): Promise<never> {
	return new Promise((_resolve, reject) => {
		signal.addEventListener("abort", () => reject(new Error("cancelled")), { once: true });
	});
}

const SHORT = { code: "resource_exhausted", details: { resource: "disk", available: 99, threshold: 100 } };

test("work goes on while there is room, and its own errors stay its own", async () => {
	const guard = new DiskGuard({ readFreeMiB: () => 100, minFreeMiB: 100 });
	assert.equal(await guard.during(NEVER, async () => "done"), "done");
	await assert.rejects(
		guard.during(NEVER, () => Promise.reject(new Error("broken"))),
		{ message: "broken" },
	);
});

test("work does not begin without room, and with 0 it always does", async () => {
	const readFreeMiB = () => 99;
	const guard = new DiskGuard({ readFreeMiB, minFreeMiB: 100 });
	await assert.rejects(
		guard.during(NEVER, () => assert.fail("it began")),
		SHORT,
	);
	assert.equal(await new DiskGuard({ readFreeMiB, minFreeMiB: 0 }).during(NEVER, async () => "done"), "done");
});

test("work that fills the disk is ended with the reason", async () => {
	let free = 200;
	const guard = new DiskGuard({ readFreeMiB: () => free--, minFreeMiB: 100, intervalMs: 1 });
	await assert.rejects(guard.during(NEVER, untilAborted), SHORT);
});

test("work that its client cancels is cancelled, whatever the disk", async () => {
	const client = new AbortController();
	const guard = new DiskGuard({ readFreeMiB: () => 100, minFreeMiB: 100, intervalMs: 1 });
	setTimeout(() => client.abort(), 10);
	await assert.rejects(guard.during(client.signal, untilAborted), { message: "cancelled" });
});
