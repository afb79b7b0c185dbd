/** The errors are the same in src/lib/errors.ts, in the SDK and in docs/errors.md. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ERRORS as SDK_ERRORS } from "../../sdk/src/index.ts";
import { ERRORS } from "../../src/lib/errors.ts";
import { packageRoot } from "../../src/lib/package-root.ts";

test("the SDK knows every code, its status and whether it is retryable", () => {
	const expected = Object.entries(ERRORS).map(([code, { status, retryable }]) => [
		code,
		{ status, retryable },
	]);
	assert.deepEqual(SDK_ERRORS, Object.fromEntries(expected));
});

test("the table in docs/errors.md is that of the code", async () => {
	const text = await readFile(join(packageRoot(), "docs/errors.md"), "utf8");
	const rows = text.split("\n").filter((line) => line.startsWith("| `"));
	assert.deepEqual(
		rows,
		Object.entries(ERRORS).map(
			([code, { status, exitCode, retryable, meaning }]) =>
				`| \`${code}\` | ${status} | ${exitCode} | ${retryable ? "yes" : "no"} | ${meaning} |`,
		),
	);
});
