import assert from "node:assert/strict";
import { test } from "node:test";
import { OutputText } from "./output-text.ts";

/** Pushes the parts of stdout one after the other, then flushes. */
function tell(...parts: readonly (string | readonly number[])[]) {
	const text = new OutputText();
	let offset = 0;
	const events = parts.flatMap((part) => {
		const data = Buffer.from(part as string);
		const told = text.push({ stream: "stdout", offset, data });
		offset += data.length;
		return told;
	});
	return [...events, ...text.flush()];
}

test("ASCII passes as it is, chunk by chunk", () => {
	assert.deepEqual(tell("one\n", "two\n"), [
		{ type: "stdout", offset: 0, text: "one\n" },
		{ type: "stdout", offset: 4, text: "two\n" },
	]);
});

test("valid UTF-8 comes as text wherever chunks are cut", () => {
	const source = "a¢€😀ü𐍈z";
	const bytes = [...Buffer.from(source)];
	for (let cut = 0; cut <= bytes.length; cut++) {
		const events = tell(bytes.slice(0, cut), bytes.slice(cut));
		assert.equal(
			events.map((event) => ("text" in event ? event.text : "?")).join(""),
			source,
			`cut at ${cut}`,
		);
	}
	const single = tell(...bytes.map((byte) => [byte]));
	assert.equal(single.map((event) => ("text" in event ? event.text : "?")).join(""), source);
});

test("offsets count bytes, and a carried character begins where its first byte was", () => {
	assert.deepEqual(tell([0x61, 0xe2, 0x82], [0xac, 0x62]), [
		{ type: "stdout", offset: 0, text: "a" },
		{ type: "stdout", offset: 1, text: "€b" },
	]);
});

test("a chunk with invalid bytes comes as base64, exactly", () => {
	const bytes = [0x61, 0xff, 0xfe, 0x00];
	assert.deepEqual(tell(bytes), [
		{ type: "stdout", offset: 0, base64: Buffer.from(bytes).toString("base64") },
	]);
});

test("overlong forms, surrogates and code points beyond U+10FFFF are not text", () => {
	for (const bytes of [
		[0xc0, 0xaf],
		[0xed, 0xa0, 0x80],
		[0xf4, 0x90, 0x80, 0x80],
		[0xf8, 0x88, 0x80, 0x80],
	]) {
		const events = tell(bytes);
		assert.ok(events.every((event) => "base64" in event));
		assert.deepEqual(toBytes(events), bytes);
	}
});

test("a character that never becomes whole comes as base64 at the end", () => {
	assert.deepEqual(tell([0x61, 0xf0, 0x9f]), [
		{ type: "stdout", offset: 0, text: "a" },
		{ type: "stdout", offset: 1, base64: Buffer.from([0xf0, 0x9f]).toString("base64") },
	]);
});

test("after a gap the carried bytes are told alone, because their character is lost", () => {
	const text = new OutputText();
	text.push({ stream: "stdout", offset: 0, data: Buffer.from([0xe2]) });
	assert.deepEqual(text.push({ stream: "stdout", offset: 100, data: Buffer.from("b") }), [
		{ type: "stdout", offset: 0, base64: "4g==" },
		{ type: "stdout", offset: 100, text: "b" },
	]);
});

test("stdout and stderr carry separately", () => {
	const text = new OutputText();
	text.push({ stream: "stdout", offset: 0, data: Buffer.from([0xc3]) });
	assert.deepEqual(text.push({ stream: "stderr", offset: 0, data: Buffer.from("e") }), [
		{ type: "stderr", offset: 0, text: "e" },
	]);
	assert.deepEqual(text.push({ stream: "stdout", offset: 1, data: Buffer.from([0xa9]) }), [
		{ type: "stdout", offset: 0, text: "é" },
	]);
});

test("no byte is lost or doubled whatever comes in whatever pieces", () => {
	let seed = 7;
	const random = (below: number) => {
		seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
		return seed % below;
	};
	for (let round = 0; round < 200; round++) {
		const bytes = Array.from(
			{ length: random(40) },
			() => [0x61, 0xc3, 0xa9, 0xe2, 0x82, 0xf0, 0x9f, 0xff][random(8)] ?? 0,
		);
		const parts: number[][] = [];
		for (let at = 0; at < bytes.length; ) {
			const end = at + 1 + random(5);
			parts.push(bytes.slice(at, end));
			at = end;
		}
		const events = tell(...parts);
		assert.deepEqual(toBytes(events), bytes);
		let expected = 0;
		for (const event of events) {
			assert.equal(event.offset, expected);
			expected += toBytes([event]).length;
		}
	}
});

function toBytes(events: readonly ({ text: string } | { base64: string })[]): number[] {
	return events.flatMap((event) =>
		"text" in event ? [...Buffer.from(event.text)] : [...Buffer.from(event.base64, "base64")],
	);
}
