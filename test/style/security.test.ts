/** SECURITY.md: every boundary names the tests that show it, and no test of an attack is left out. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { it } from "node:test";

const ROOT = join(import.meta.dirname, "../..");
const [, afterHeading = ""] = readFileSync(join(ROOT, "SECURITY.md"), "utf8").split("## Boundaries");
const [table = ""] = afterHeading.split("\n## ");
const evidence = table
	.split("\n")
	.filter((line) => line.startsWith("| ") && line.includes("↔"))
	.map(
		(line) =>
			line
				.split(" | ")
				.at(-1)
				?.replace(/\s*\|$/, "") ?? "",
	);

it("every boundary names a test that exists", () => {
	assert.ok(evidence.length > 5);
	for (const cell of evidence) {
		const names = [...cell.matchAll(/`([a-z-]+)`/g)].map(([, name]) => `test/security/${name}.test.ts`);
		const paths = [...cell.matchAll(/\b(?:test|src)\/[\w/.-]+/g)].map(([path]) => path);
		assert.ok(names.length + paths.length > 0, cell);
		for (const path of [...names, ...paths]) {
			assert.ok(
				existsSync(join(ROOT, path)) || existsSync(join(ROOT, `${path}.test.ts`)),
				`${path} of: ${cell}`,
			);
		}
	}
});

it("every test of attacks is named by a boundary", () => {
	const files = globSync("test/security/*.test.ts", { cwd: ROOT }).map((file) => basename(file, ".test.ts"));
	assert.deepEqual(
		files.filter((name) => !evidence.some((cell) => cell.includes(`\`${name}\``))),
		[],
	);
});
