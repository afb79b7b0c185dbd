import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { AgentError } from "./agent-error.ts";
import {
	type Frame,
	FrameDecoder,
	FrameWriter,
	MAX_PAYLOAD_BYTES,
	PayloadReader,
	REPLY,
	REQUEST,
} from "./frames.ts";

const isViolation = (error: unknown) =>
	error instanceof AgentError && /broke the protocol/.test(error.message);

function toPlain({ type, channel, payload }: Frame) {
	return { type, channel, payload: payload.takeRest().toString("latin1") };
}

function decodeAll(chunks: Buffer[]) {
	const decoder = new FrameDecoder();
	return chunks.flatMap((chunk) => [...decoder.decode(chunk)].map(toPlain));
}

test("the frame types are those of native/wire.h", () => {
	const header = readFileSync(new URL("../../native/wire.h", import.meta.url), "utf8");
	const inC = [...header.matchAll(/^\tFRAME_(\w+) = (0x\w+),$/gm)].map(([, name, value]) => [
		name,
		Number(value),
	]);
	const toName = (name: string) => name.replace(/[A-Z]/g, "_$&").toUpperCase();
	const inTypeScript = [
		...Object.entries(REQUEST).map(([name, value]) => [toName(name), value]),
		...Object.entries(REPLY).map(([name, value]) => [name === "hello" ? "AGENT_HELLO" : toName(name), value]),
	];
	assert.deepEqual(new Map(inC as [string, number][]), new Map(inTypeScript as [string, number][]));
});

test("frames are the same however the stream is cut", () => {
	const stream = Buffer.concat([
		new FrameWriter(1, 7).text("a", "hello").finish(),
		new FrameWriter(2, 8).finish(),
		new FrameWriter(3, 0xffff_ffff).bytes(Buffer.alloc(40, "x")).finish(),
	]);
	const whole = decodeAll([stream]);
	assert.deepEqual(
		whole.map(({ type, channel }) => [type, channel]),
		[
			[1, 7],
			[2, 8],
			[3, 0xffff_ffff],
		],
	);
	for (let size = 1; size < stream.length; size++) {
		const chunks: Buffer[] = [];
		for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
		assert.deepEqual(decodeAll(chunks), whole, `in chunks of ${size}`);
	}
});

test("the largest frame is taken and a larger one is a violation, in one chunk or many", () => {
	const largest = new FrameWriter(1, 1).bytes(Buffer.alloc(MAX_PAYLOAD_BYTES)).finish();
	assert.equal(decodeAll([largest])[0]?.payload.length, MAX_PAYLOAD_BYTES);
	const header = Buffer.from(largest.subarray(0, 9));
	header.writeUInt32LE(MAX_PAYLOAD_BYTES + 1, 0);
	assert.throws(() => decodeAll([header]), isViolation);
	assert.throws(() => decodeAll([header.subarray(0, 4), header.subarray(4)]), isViolation);
});

test("a payload is read within its bounds", () => {
	const reader = new PayloadReader(Buffer.from([1, 2, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]));
	assert.equal(reader.takeU8(), 1);
	assert.equal(reader.takeU16(), 2);
	assert.throws(() => new PayloadReader(Buffer.from([5, 0, 0, 0, 97])).takeText(100), isViolation);
	assert.throws(() => new PayloadReader(Buffer.from([1, 0, 0, 0, 97])).takeText(0), isViolation);
	assert.throws(() => reader.finish(), isViolation);
	assert.equal(reader.takeU32(), 3);
	assert.equal(reader.takeU64(), 4);
	reader.finish();
	assert.throws(() => reader.takeU8(), isViolation);
});

test("numbers that JavaScript cannot hold and booleans that are none are violations", () => {
	assert.throws(() => new PayloadReader(Buffer.alloc(8, 0xff)).takeU64(), isViolation);
	assert.throws(() => new PayloadReader(Buffer.from([2])).takeBoolean(), isViolation);
});

test("a frame that would be too large, or text with a NUL, is refused before anything is sent", () => {
	const frame = new FrameWriter(1, 1);
	assert.throws(() => frame.bytes(Buffer.alloc(MAX_PAYLOAD_BYTES + 1)), { code: "too_large" });
	assert.throws(() => frame.text("the user", "a\0b"), {
		code: "invalid_argument",
		message: /the user contains a NUL/,
	});
});
