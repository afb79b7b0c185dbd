import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { packageRoot, packageVersion } from "./package-root.ts";

test("the package root is the folder with Shale's sources", () => {
	assert.ok(existsSync(join(packageRoot(), "src/lib/package-root.ts")));
});

test("the version is that of package.json", () => {
	assert.match(packageVersion(), /^\d+\.\d+\.\d+/);
});
