import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { encodePlan } from "../../src/linux/plan.ts";
import { FRAMES_CORPUS, FRAMES_CORPUS_FOLDER } from "../support/frames-corpus.ts";
import { PLAN_CORPUS, PLAN_CORPUS_FOLDER } from "../support/plan-corpus.ts";

it("the fuzzer of plans begins with the plans of today; `node test/support/plan-corpus.ts` writes them", () => {
	for (const [name, plan] of Object.entries(PLAN_CORPUS)) {
		assert.ok(readFileSync(join(PLAN_CORPUS_FOLDER, name)).equals(encodePlan(plan)), name);
	}
});

it("the fuzzer of frames begins with the frames of today; `node test/support/frames-corpus.ts` writes them", () => {
	for (const [name, input] of Object.entries(FRAMES_CORPUS)) {
		assert.ok(readFileSync(join(FRAMES_CORPUS_FOLDER, name)).equals(input), name);
	}
});
