import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { SETTINGS } from "../../src/daemon/config.ts";

it("docs/configuration.md has a row for every setting, with its variable, and no other", () => {
	const text = readFileSync(join(import.meta.dirname, "../../docs/configuration.md"), "utf8");
	const rows = [...text.matchAll(/^\| `(\w+)`\s+\| `(\w+)`\s+\|/gm)].map(([, key, env]) => [key, env]);
	assert.deepEqual(
		rows,
		Object.entries(SETTINGS).map(([key, { env }]) => [key, env]),
	);
});
