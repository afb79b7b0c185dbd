import assert from "node:assert/strict";
import { test } from "node:test";
import { DetachKeys } from "./detach-keys.ts";

/** What reaches the program, and whether the user left. */
function type(...parts: readonly string[]): [string, boolean] {
	const keys = new DetachKeys();
	let text = "";
	for (const part of parts) {
		const { data, isDetach } = keys.push(Buffer.from(part));
		text += Buffer.from(data).toString();
		if (isDetach) return [text, true];
	}
	return [text + Buffer.from(keys.flush()).toString(), false];
}

test("the two keys are found wherever pieces are cut, and are not forwarded", () => {
	assert.deepEqual(type("ls\r\x10\x11rest"), ["ls\r", true]);
	assert.deepEqual(type("a\x10", "\x11"), ["a", true]);
	assert.deepEqual(type("\x10\x10\x11"), ["\x10", true]);
});

test("each of the keys alone is the program's", () => {
	assert.deepEqual(type("a\x10b", "\x11\x10", "c"), ["a\x10b\x11\x10c", false]);
	assert.deepEqual(type("\x10"), ["\x10", false]);
	assert.deepEqual(type("\x03\x1a\x1b[Aü"), ["\x03\x1a\x1b[Aü", false]);
});

test("a key that is held back is given once", () => {
	const keys = new DetachKeys();
	keys.push(Buffer.from("\x10"));
	assert.ok(keys.isHalf);
	assert.deepEqual([...keys.flush()], [0x10]);
	assert.equal(keys.flush().length, 0);
	assert.equal(keys.push(Buffer.from("\x11")).isDetach, false);
});
