/** A short run of test/chaos; `npm run chaos` makes long ones. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { CHAOS_LAYERS, runChaos } from "../chaos/chaos-run.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

it("daemons and jailers that are killed at random moments lose nothing and leave nothing behind", {
	skip: missingRoot() || missingLayers(...CHAOS_LAYERS),
}, async (test) => {
	const seed = Date.now() % 2 ** 31;
	const report = await runChaos({ cycles: 12, workers: 4, seed });
	test.diagnostic(JSON.stringify(report));
	assert.deepEqual(report.violations, [], `seed ${seed}, log in ${report.folder}`);
	assert.equal(report.cycles, 12);
});
