/** Waiting in tests for what has no event to wait for. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

export async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
	for (let i = 0; !(await isTrue()); i++) {
		assert.ok(i < 500, "did not become true within 5 s");
		await sleep(10);
	}
}
