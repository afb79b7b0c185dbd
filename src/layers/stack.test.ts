import assert from "node:assert/strict";
import { test } from "node:test";
import { ShaleError } from "../lib/errors.ts";
import { parseLayerName, toLayerKind, toStack } from "./stack.ts";

function refusal(names: readonly string[]): string {
	try {
		toStack(names);
	} catch (error) {
		assert.ok(error instanceof ShaleError);
		assert.equal(error.code, "invalid_argument");
		assert.equal(error.details?.field, "layers");
		return error.message;
	}
	throw new assert.AssertionError({ message: `${names} was accepted` });
}

test("a stack is ordered by number, and layers of one number stay as given", () => {
	const names = ["900-mine", "100-nodejs24", "100-bun", "000-base-debian", "010-system"];
	assert.deepEqual(toStack(names), ["000-base-debian", "010-system", "100-nodejs24", "100-bun", "900-mine"]);
});

test("a stack without a base, with two bases, with doubles or with too many layers is refused", () => {
	assert.match(refusal([]), /^layers: a stack needs a base/);
	assert.match(refusal(["100-nodejs24"]), /needs a base/);
	assert.match(refusal(["000-a", "000-b"]), /one base, not 2: 000-a, 000-b/);
	assert.match(refusal(["000-a", "100-b", "100-b"]), /100-b is named twice/);
	assert.match(
		refusal(Array.from({ length: 101 }, (_, n) => `100-m${n}`)),
		/101 layers are more than the 100/,
	);
});

test("names that could leave the store's folder, and numbers in no range, are refused", () => {
	for (const name of [
		"",
		"../000-a",
		"000-../a",
		"000-a/b",
		"000-A",
		"00-a",
		"000-",
		"000-.a",
		`000-${"a".repeat(64)}`,
	]) {
		assert.match(refusal([name]), /is not a layer name/);
	}
	for (const name of ["001-a", "009-a"]) assert.match(refusal([name]), /in no range/);
	assert.throws(() => parseLayerName("000-a\n"), /is not a layer name/);
});

test("the kind of a layer follows from its number", () => {
	assert.equal(toLayerKind("000-a"), "base");
	assert.equal(toLayerKind("010-a"), "module");
	assert.equal(toLayerKind("899-a"), "module");
	assert.equal(toLayerKind("900-a"), "snapshot");
});
