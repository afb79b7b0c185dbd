import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { AgentError } from "./agent-error.ts";
import { CHANGES, FILE_TYPES, type FileRecord, FileRecordDecoder, RECORD_TYPE } from "./file-records.ts";
import { OPERATION } from "./files.ts";
import { FrameWriter } from "./frames.ts";

const HEADER_BYTES = 9;

function toRecord(type: number, fill: (fields: FrameWriter) => FrameWriter): Buffer {
	const payload = fill(new FrameWriter(0, 1)).finish().subarray(HEADER_BYTES);
	const head = Buffer.alloc(5);
	head.writeUInt8(type, 0);
	head.writeUInt32LE(payload.length, 1);
	return Buffer.concat([head, payload]);
}

const toInfo = (path: string, { type = 1, mode = 0o644, seconds = 5n } = {}) =>
	toRecord(1, (fields) =>
		fields
			.u8(type)
			.u32(mode)
			.u32(1)
			.u32(2)
			.u64(3)
			.u64(BigInt.asUintN(64, seconds))
			.u32(600_000_000)
			.text("path", path)
			.text("target", "over there"),
	);
const toBytes = (data: Buffer) => toRecord(2, (fields) => fields.bytes(data));
const toEvent = (event: number, path: string) =>
	toRecord(3, (fields) => fields.u8(event).u8(1).text("path", path));
const result = toRecord(4, (fields) => fields.u32(2).u8(1).u64(7).text("detail", "why"));

function decodeAll(chunks: Buffer[]): FileRecord[] {
	const decoder = new FileRecordDecoder();
	return chunks.flatMap((chunk) => [...decoder.decode(chunk)]);
}

const isViolation = (error: unknown) =>
	error instanceof AgentError && /broke the protocol/.test(error.message);

test("operations, records, types of files and of events have the numbers of the native side", () => {
	const readNative = (name: string) => readFileSync(new URL(`../../native/${name}`, import.meta.url), "utf8");
	const toCamel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
	const operations = [...readNative("agent-files-worker.c").matchAll(/\[(\d+)\] = files_(\w+)/g)];
	assert.deepEqual(
		Object.fromEntries(operations.map(([, number, name]) => [toCamel(name ?? ""), Number(number)])),
		OPERATION,
	);
	const reply = readNative("agent-files-reply.h");
	const records = [...reply.matchAll(/^\tREPLY_(\w+) = (\d),/gm)];
	assert.deepEqual(
		Object.fromEntries(records.map(([, name, number]) => [name?.toLowerCase(), Number(number)])),
		RECORD_TYPE,
	);
	const names = (text: string, prefix: string) =>
		[...text.matchAll(new RegExp(`^\\t${prefix}_(\\w+)(?: = 1)?,$`, "gm"))].map(([, name]) =>
			name?.toLowerCase(),
		);
	const fileTypes = names(reply, "FILE").map((name) => (name === "regular" ? "file" : name));
	assert.deepEqual([undefined, ...fileTypes], FILE_TYPES);
	assert.deepEqual([undefined, ...names(readNative("agent-files-watch.c"), "EVENT")], CHANGES);
});

test("records are the same however the stream is cut", () => {
	const data = randomBytes(100_000).subarray(0, 50_000);
	const stream = Buffer.concat([toInfo("a/b"), toBytes(data), toEvent(2, "c"), result]);
	for (const size of [1, 2, 7, 4096, stream.length]) {
		const chunks: Buffer[] = [];
		for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
		const records = decodeAll(chunks);
		const bytes = records.flatMap((record) => (record.type === "bytes" ? [record.data] : []));
		assert.ok(Buffer.concat(bytes).equals(data));
		assert.deepEqual(
			records.filter(({ type }) => type !== "bytes"),
			[
				{
					type: "info",
					facts: {
						path: "a/b",
						type: "file",
						mode: 0o644,
						uid: 1,
						gid: 2,
						sizeBytes: 3,
						modifiedMs: 5600,
						target: null,
					},
				},
				{ type: "event", change: { type: "modified", path: "c", isDirectory: true } },
				{ type: "result", result: { errnoName: "ENOENT", subject: "user", count: 7, detail: "why" } },
			],
		);
	}
});

test("a time that no Date can be is the nearest that can", () => {
	const modified = (seconds: bigint) => {
		const [record] = decodeAll([toInfo("a", { seconds })]);
		return record?.type === "info" ? new Date(record.facts.modifiedMs).toISOString() : undefined;
	};
	assert.equal(modified(-1n), "1969-12-31T23:59:59.600Z");
	assert.match(modified(9_000_000_000_000n) ?? "", /^\+275760-09-13/);
	assert.match(modified(-9_000_000_000_000n) ?? "", /^-271821-04-20/);
	assert.throws(() => modified(2n ** 62n), isViolation);
});

test("names that lead outside or are none break the protocol", () => {
	for (const path of ["..", "../a", "a/../b", "/a", "a//b", "a/", "./a", "a/."]) {
		assert.throws(() => decodeAll([toInfo(path)]), isViolation, path);
		assert.throws(() => decodeAll([toEvent(1, path)]), isViolation, path);
	}
	assert.equal(decodeAll([toInfo(""), toInfo("..a/b..")]).length, 2);
});

test("malformed records break the protocol", () => {
	const long = Buffer.alloc(5);
	long.writeUInt8(1, 0);
	long.writeUInt32LE(20_000, 1);
	const bad = [
		toInfo("a", { type: 0 }),
		toInfo("a", { type: 8 }),
		toInfo("a", { mode: 0o10000 }),
		toEvent(0, "a"),
		toEvent(7, "a"),
		toRecord(5, (fields) => fields),
		toRecord(4, (fields) => fields.u32(0)),
		toRecord(3, (fields) => fields.u8(1).u8(2).text("path", "a")),
		toRecord(1, (fields) => fields.text("path", "a")),
		long,
	];
	for (const record of bad) assert.throws(() => decodeAll([record]), isViolation);
});

test("random bytes make records or a violation, and nothing else", () => {
	for (let round = 0; round < 2000; round++) {
		const bytes = randomBytes(200);
		bytes.writeUInt8((round % 5) + 1, 0);
		bytes.writeUInt32LE(round % 300, 1);
		try {
			decodeAll([bytes]);
		} catch (error) {
			assert.ok(isViolation(error), String(error));
		}
	}
});
