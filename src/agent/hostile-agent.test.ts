/** The daemon's side of the protocol with agents that send what they like; `scripts/fuzz` does so for longer. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { meet } from "../../test/fuzz/hostile-agent.ts";
import { CONVERSATIONS, mutate, toRandom } from "../../test/fuzz/hostile-inputs.ts";

const corpus = fileURLToPath(new URL("../../test/fuzz/corpus/", import.meta.url));

test("a conversation without fault gives everybody what they wait for", async () => {
	const outcome = await meet(CONVERSATIONS[0] ?? Buffer.alloc(0));
	const others = outcome.split("\n").filter((line) => !line.endsWith(": done"));
	assert.deepEqual(others, [
		"closed: the agent closed the connection",
		"forget: forget process other: no (EBUSY)",
		// It has exited before anybody could write.
		"start stdin: the agent closed the connection",
		"stdin: write to the stdin of process quiet: no (EPIPE)",
		"watch: watch /x:  (EIO)",
	]);
});

test("whatever was found to end a connection in a way of its own still ends it cleanly", async () => {
	const names = readdirSync(corpus);
	assert.ok(names.length > 20, `${names.length} inputs`);
	for (const name of names) await meet(readFileSync(corpus + name));
});

test("conversations with faults do no more than end the connection", async () => {
	const random = toRandom(1);
	for (let round = 0; round < 300; round++) await meet(mutate(random, CONVERSATIONS));
});
