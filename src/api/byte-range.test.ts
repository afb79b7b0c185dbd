import assert from "node:assert/strict";
import { test } from "node:test";
import { parseByteRange } from "./byte-range.ts";

test("one range of bytes is read", () => {
	assert.deepEqual(parseByteRange("bytes=0-0"), { first: 0, last: 0 });
	assert.deepEqual(parseByteRange(" bytes=5-9 "), { first: 5, last: 9 });
	assert.deepEqual(parseByteRange("bytes=5-"), { first: 5, last: undefined });
	assert.deepEqual(parseByteRange("bytes=-5"), { suffix: 5 });
	assert.deepEqual(parseByteRange("bytes=-0"), { suffix: 0 });
});

test("what need not be understood is ignored", () => {
	for (const header of [
		undefined,
		"",
		"bytes=",
		"bytes=-",
		"bytes=a-b",
		"bytes=9-5",
		"bytes=0-1,3-4",
		"lines=0-1",
	]) {
		assert.equal(parseByteRange(header), undefined, header);
	}
	assert.equal(parseByteRange(`bytes=0-${"9".repeat(16)}`), undefined);
});
