/**
 * What a file worker of the agent sends: records of u8 type, u32 length, payload; native/agent-files-reply.h has the same.
 *
 * SECURITY: a worker is a program of the sandbox. Every length is bounded, every number checked, and whatever does not fit
 * throws an AgentError.
 */

import { toErrnoName, toViolation } from "./agent-error.ts";
import { PayloadReader } from "./frames.ts";

export type FileType = "file" | "directory" | "symlink" | "fifo" | "socket" | "block" | "character";

/** Names that are not UTF-8 have U+FFFD for what is wrong in them. */
export interface FileFacts {
	/** Relative to what the request named; "" for that itself. */
	readonly path: string;
	readonly type: FileType;
	readonly sizeBytes: number;
	/** 0 to 0o7777. */
	readonly mode: number;
	readonly uid: number;
	readonly gid: number;
	/** Unix time; within what a Date can be. */
	readonly modifiedMs: number;
	/** Of a symlink, as written; otherwise null. */
	readonly target: string | null;
}

export interface FileChange {
	readonly type: "created" | "modified" | "removed" | "moved_from" | "moved_to" | "overflow";
	/** Relative to what is watched; "" for that itself. */
	readonly path: string;
	readonly isDirectory: boolean;
}

export interface FileResult {
	/** Undefined when it succeeded. */
	readonly errnoName: string | undefined;
	readonly subject: "operation" | "user";
	readonly count: number;
	/** More about a failure; may be empty. */
	readonly detail: string;
}

export type FileRecord =
	| { readonly type: "info"; readonly facts: FileFacts }
	| { readonly type: "bytes"; readonly data: Buffer }
	| { readonly type: "event"; readonly change: FileChange }
	| { readonly type: "result"; readonly result: FileResult };

const HEAD_BYTES = 5;
export const RECORD_TYPE = { info: 1, bytes: 2, event: 3, result: 4 } as const;
const MAX_PATH_BYTES = 4095;
/** Of any record but `bytes`, whose length is not bounded because nothing of it is kept. */
const MAX_RECORD_BYTES = 16 * 1024;
/** ECMAScript: a Date is within so many ms of 1970. */
const MAX_DATE_MS = 8.64e15;

export const FILE_TYPES: readonly (FileType | undefined)[] = [
	undefined,
	"file",
	"directory",
	"symlink",
	"fifo",
	"socket",
	"block",
	"character",
];
export const CHANGES: readonly (FileChange["type"] | undefined)[] = [
	undefined,
	"created",
	"modified",
	"removed",
	"moved_from",
	"moved_to",
	"overflow",
];

/** Cuts a stream of chunks into records. Bytes are views of the chunks, in pieces as they come. */
export class FileRecordDecoder {
	#head = Buffer.alloc(0);
	/** What is left of a `bytes` record. */
	#bytesLeft = 0;

	*decode(chunk: Buffer): Generator<FileRecord, void, undefined> {
		let rest = chunk;
		while (rest.length > 0) {
			if (this.#bytesLeft > 0) {
				const data = rest.subarray(0, this.#bytesLeft);
				this.#bytesLeft -= data.length;
				rest = rest.subarray(data.length);
				yield { type: "bytes", data };
				continue;
			}
			const joined = this.#head.length > 0 ? Buffer.concat([this.#head, rest]) : rest;
			const taken = this.#takeRecord(joined);
			if (!taken) {
				// Small: the head of a record, or a record that is below its limit. Copied, not to hold the chunk.
				this.#head = Buffer.from(joined);
				return;
			}
			this.#head = Buffer.alloc(0);
			rest = joined.subarray(taken.length);
			if (taken.record) yield taken.record;
		}
	}

	/** True between records. */
	get isComplete(): boolean {
		return this.#head.length === 0 && this.#bytesLeft === 0;
	}

	#takeRecord(bytes: Buffer): { readonly length: number; readonly record?: FileRecord } | undefined {
		if (bytes.length < HEAD_BYTES) return undefined;
		const type = bytes.readUInt8(0);
		const length = bytes.readUInt32LE(1);
		if (type === RECORD_TYPE.bytes) {
			this.#bytesLeft = length;
			return { length: HEAD_BYTES };
		}
		if (length > MAX_RECORD_BYTES) throw toViolation("a record that is too long");
		const end = HEAD_BYTES + length;
		if (bytes.length < end) return undefined;
		return { length: end, record: parseRecord(type, new PayloadReader(bytes.subarray(HEAD_BYTES, end))) };
	}
}

function parseRecord(type: number, payload: PayloadReader): FileRecord {
	const record = parseFields(type, payload);
	payload.finish();
	return record;
}

function parseFields(type: number, payload: PayloadReader): FileRecord {
	if (type === RECORD_TYPE.info) return { type: "info", facts: parseFacts(payload) };
	if (type === RECORD_TYPE.event) return { type: "event", change: parseChange(payload) };
	if (type === RECORD_TYPE.result) return { type: "result", result: parseResult(payload) };
	throw toViolation(`a record of type ${type}`);
}

function parseFacts(payload: PayloadReader): FileFacts {
	const type = FILE_TYPES[payload.takeU8()];
	const mode = payload.takeU32();
	const uid = payload.takeU32();
	const gid = payload.takeU32();
	const sizeBytes = payload.takeU64();
	const modifiedMs = payload.takeI64() * 1000 + Math.floor(payload.takeU32() / 1e6);
	const path = takeRelativePath(payload);
	const target = takePath(payload);
	if (!type || mode > 0o7777) throw toViolation("a file of no type, or with more than permissions");
	return {
		path,
		type,
		sizeBytes,
		mode,
		uid,
		gid,
		// Any program can set any time.
		modifiedMs: Math.min(Math.max(modifiedMs, -MAX_DATE_MS), MAX_DATE_MS),
		target: type === "symlink" ? target : null,
	};
}

function parseChange(payload: PayloadReader): FileChange {
	const type = CHANGES[payload.takeU8()];
	const isDirectory = payload.takeBoolean();
	const path = takeRelativePath(payload);
	if (!type) throw toViolation("an event of no type");
	return { type, path, isDirectory };
}

function parseResult(payload: PayloadReader): FileResult {
	const errno = payload.takeU32();
	const subject = payload.takeBoolean() ? "user" : "operation";
	const count = payload.takeU64();
	const detail = takePath(payload);
	return { errnoName: errno === 0 ? undefined : toErrnoName(errno), subject, count, detail };
}

/** SECURITY: who copies a listing makes files of these names, so none may lead up or away. */
function takeRelativePath(payload: PayloadReader): string {
	const path = takePath(payload);
	const isClean = path.split("/").every((name) => name !== "" && name !== "." && name !== "..");
	if (path !== "" && !isClean) throw toViolation("a name that is none, or leads outside");
	return path;
}

function takePath(payload: PayloadReader): string {
	const path = payload.takeText(MAX_PATH_BYTES);
	if (path.includes("\0")) throw toViolation("a name with a NUL");
	return path;
}
