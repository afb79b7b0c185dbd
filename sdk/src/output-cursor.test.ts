import assert from "node:assert/strict";
import { test } from "node:test";
import { OutputCursor } from "./output-cursor.ts";
import type { DroppedOutput, OutputChunk } from "./types.ts";

function chunk(offset: number, text: string): OutputChunk {
	return { stream: "stdout", offset, data: Buffer.from(text) };
}

function texts(parts: Iterable<OutputChunk | DroppedOutput>): (string | [number, number])[] {
	return [...parts].map((part) =>
		"data" in part ? Buffer.from(part.data).toString() : [part.offset, part.bytes],
	);
}

test("what comes again is cut off, wholly or in part", () => {
	const cursor = new OutputCursor();
	assert.deepEqual(texts(cursor.take(chunk(0, "abc"))), ["abc"]);
	assert.deepEqual(texts(cursor.take(chunk(0, "abc"))), []);
	const [rest] = cursor.take(chunk(1, "bcde"));
	assert.deepEqual(rest, { stream: "stdout", offset: 3, data: Buffer.from("de") });
	assert.deepEqual(cursor.next, { stdout: 5, stderr: 0 });
});

test("a gap is told once, whoever finds it", () => {
	const cursor = new OutputCursor();
	assert.deepEqual(texts(cursor.take(chunk(5, "x"))), [[0, 5], "x"]);
	assert.deepEqual(texts(cursor.skip({ stream: "stdout", offset: 0, bytes: 10 })), [[6, 4]]);
	assert.deepEqual(texts(cursor.skip({ stream: "stdout", offset: 0, bytes: 10 })), []);
	assert.deepEqual(texts(cursor.take(chunk(8, "abcd"))), ["cd"]);
});

test("without a beginning anything is one", () => {
	const cursor = new OutputCursor({ stdout: undefined, stderr: undefined });
	assert.deepEqual(texts(cursor.take(chunk(7, "x"))), ["x"]);
	assert.deepEqual(cursor.next, { stdout: 8, stderr: undefined });
});
