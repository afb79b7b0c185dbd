import assert from "node:assert/strict";
import { test } from "node:test";
import { OutputQueue, type StreamName } from "./output-queue.ts";

function drain(queue: OutputQueue) {
	const chunks = [];
	for (let chunk = queue.shift(); chunk; chunk = queue.shift()) chunks.push(chunk);
	return chunks;
}

test("a few chunks come out as they went in", () => {
	const queue = new OutputQueue();
	queue.push({ stream: "stdout", offset: 0, data: Buffer.from("one") });
	queue.push({ stream: "stderr", offset: 5, data: Buffer.from("two") });
	queue.push({ stream: "stdout", offset: 10, data: Buffer.from("after a gap") });
	assert.deepEqual(
		drain(queue).map(({ stream, offset, data }) => [stream, offset, data.toString()]),
		[
			["stdout", 0, "one"],
			["stderr", 5, "two"],
			["stdout", 10, "after a gap"],
		],
	);
	assert.equal(queue.shift(), undefined);
});

test("a hundred thousand single bytes are put together, in order, with the offsets of their streams", () => {
	const queue = new OutputQueue();
	const total = 100_000;
	const next = { stdout: 0, stderr: 0 };
	for (let i = 0; i < total; i++) {
		const stream: StreamName = i % 3 ? "stdout" : "stderr";
		queue.push({ stream, offset: next[stream], data: Buffer.from([next[stream] % 251]) });
		next[stream] += 1;
	}
	const seen = { stdout: 0, stderr: 0 };
	const chunks = drain(queue);
	for (const { stream, offset, data } of chunks) {
		assert.equal(offset, seen[stream]);
		for (const byte of data) assert.equal(byte, seen[stream]++ % 251);
	}
	assert.deepEqual(seen, next);
	assert.ok(chunks.length < 40, `${chunks.length} chunks`);
});

test("what was taken does not change when more comes", () => {
	const queue = new OutputQueue();
	for (let offset = 0; offset < 20; offset++) {
		queue.push({ stream: "stdout", offset: offset * 2, data: Buffer.from("a") });
	}
	const taken = drain(queue);
	queue.push({ stream: "stdout", offset: 39, data: Buffer.from("b") });
	assert.ok(taken.every(({ data }) => data.toString() === "a"));
	assert.equal(queue.shift()?.data.toString(), "b");
});

test("a small chunk does not keep the large one alive that it was received in", () => {
	const queue = new OutputQueue();
	const received = Buffer.alloc(65_536);
	queue.push({ stream: "stdout", offset: 0, data: received.subarray(10, 20) });
	assert.notEqual(queue.shift()?.data.buffer, received.buffer);
});
