/** For tests: one file operation of an agent, run to its end. */

import type { AgentConnection } from "../../src/agent/connection.ts";
import {
	type FileChange,
	type FileFacts,
	type FileOperation,
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
