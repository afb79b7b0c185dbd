/** For tests: file operations of an agent, run to their end. */

import assert from "node:assert/strict";
import type { AgentConnection } from "../../src/agent/connection.ts";
import {
	type FileChange,
	type FileFacts,
	type FileOperation,
	FileOperationError,
	type FileRequest,
	openFileOperation,
} from "../../src/agent/files.ts";

export interface FileOutcome {
	readonly infos: FileFacts[];
	readonly bytes: Buffer;
	readonly events: FileChange[];
	readonly count: number;
}

export async function* chunked(content: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
	for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
}

export async function runFileOperation(
	agent: AgentConnection,
	request: FileRequest,
	{ user = "", source }: { readonly user?: string; readonly source?: AsyncIterable<Uint8Array> } = {},
): Promise<FileOutcome> {
	const operation = openFileOperation(agent, request, { user });
	if (source) void operation.send(source);
	return collectRecords(operation);
}

export async function collectRecords(operation: FileOperation): Promise<FileOutcome> {
	const infos: FileFacts[] = [];
	const pieces: Buffer[] = [];
	const events: FileChange[] = [];
	for (let record = await operation.next(); record; record = await operation.next()) {
		if (record.type === "info") infos.push(record.facts);
		else if (record.type === "bytes") pieces.push(record.data);
		else events.push(record.change);
	}
	return { infos, bytes: Buffer.concat(pieces), events, count: operation.count };
}

type Fields<Name extends FileRequest["operation"]> = Partial<Extract<FileRequest, { operation: Name }>>;

/** Requests with what most tests want. */
export const request = {
	stat: (path: string, followSymlinks = true) => ({ operation: "stat", path, followSymlinks }) as const,
	list: (path: string, depth = 1, limit = 1000) => ({ operation: "list", path, depth, limit }) as const,
	read: (path: string, offset = 0, length = Number.MAX_SAFE_INTEGER) =>
		({ operation: "read", path, offset, length }) as const,
	write: (path: string, fields: Fields<"write"> = {}) =>
		({ operation: "write", path, mode: 0o644, parents: false, overwrite: true, ...fields }) as const,
	remove: (path: string, recursive = true) => ({ operation: "remove", path, recursive }) as const,
	watch: (path: string, recursive = false) => ({ operation: "watch", path, recursive }) as const,
};

/** The worker must refuse it with this errno; returns the refusal. */
export async function assertRefused(
	outcome: Promise<unknown>,
	errnoName: string,
): Promise<FileOperationError> {
	const error = await outcome.then(
		() => assert.fail("it was not refused"),
		(reason: unknown) => reason,
	);
	assert.ok(error instanceof FileOperationError, String(error));
	assert.equal(error.errnoName, errnoName);
	return error;
}
