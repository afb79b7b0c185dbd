import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePlace } from "./place.ts";

test("a sandbox and its path are told from a path here", () => {
	assert.deepEqual(parsePlace("box:/a"), { kind: "sandbox", idOrName: "box", path: "/a" });
	assert.deepEqual(parsePlace("my.box:/a:b"), { kind: "sandbox", idOrName: "my.box", path: "/a:b" });
	for (const path of ["a", "./a:b", "/a:b", "dir/a:b", "..", ".hidden:x", ":x", ""]) {
		assert.deepEqual(parsePlace(path), { kind: "host", path });
	}
	assert.deepEqual(parsePlace("-"), { kind: "pipe" });
});

test("a relative path in a sandbox is refused with the line as it may have been meant", () => {
	const hint = "Write: box:/a, or ./box:a for a file of that name here.";
	assert.throws(() => parsePlace("box:a"), { code: "invalid_argument", hint });
	assert.throws(() => parsePlace("box:"), { code: "invalid_argument" });
});
