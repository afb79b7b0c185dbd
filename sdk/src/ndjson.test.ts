import assert from "node:assert/strict";
import { test } from "node:test";
import { collect } from "../../test/support/collect.ts";
import { ShaleConnectionError } from "./errors.ts";
import { readNdjson } from "./ndjson.ts";

function streamOf(...chunks: readonly (string | Uint8Array)[]): ReadableStream<Uint8Array> {
	return new ReadableStream({
		start(controller) {
			for (const chunk of chunks) {
				controller.enqueue(typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk);
			}
			controller.close();
		},
	});
}

test("values come whole however the chunks are cut", async () => {
	const text = new TextEncoder().encode('{"a":"é"}\n\n{"b":2}\r\n{"c":3}');
	for (let size = 1; size <= text.length; size++) {
		const chunks: Uint8Array[] = [];
		for (let start = 0; start < text.length; start += size) chunks.push(text.subarray(start, start + size));
		assert.deepEqual(await collect(readNdjson(streamOf(...chunks))), [{ a: "é" }, { b: 2 }, { c: 3 }]);
	}
});

test("a line over the cap fails before it has ended", async () => {
	let pulls = 0;
	const endless = new ReadableStream<Uint8Array>({
		pull(controller) {
			pulls++;
			controller.enqueue(new Uint8Array(1000).fill(0x20));
		},
	});
	await assert.rejects(collect(readNdjson(endless, { maxLineBytes: 10_000 })), ShaleConnectionError);
	assert.ok(pulls < 15);
});

test("a line that is not an object fails", async () => {
	for (const line of ["[1]\n", "null\n", "3\n", "{\n"]) {
		await assert.rejects(collect(readNdjson(streamOf(line))), ShaleConnectionError);
	}
});

test("leaving the loop cancels the stream", async () => {
	let cancelled = false;
	const body = new ReadableStream<Uint8Array>({
		pull: (controller) => controller.enqueue(new TextEncoder().encode('{"a":1}\n')),
		cancel() {
			cancelled = true;
		},
	});
	for await (const value of readNdjson(body)) {
		assert.deepEqual(value, { a: 1 });
		break;
	}
	assert.ok(cancelled);
});
