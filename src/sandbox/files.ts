/** Files of a sandbox. The agent's workers do the work, as a user of the sandbox; this decides whose, and says what failed. */
import { posix } from "node:path";
import { type FileChange, type FileFacts, type FileOperation, FileOperationError } from "../agent/files.ts";
import { ShaleError } from "../lib/errors.ts";
import type { Core } from "./core.ts";
import { type Call, operate, stream, toIterable } from "./file-calls.ts";
import type {
	FileAccess,
	FileContent,
	FileEvent,
	FileInfo,
	FileList,
	ListFiles,
	ReadFile,
	SandboxFiles,
	WriteFile,
} from "./file-types.ts";

const DEFAULT_FILE_MODE = 0o644;
const DEFAULT_DIRECTORY_MODE = 0o755;
const DEFAULT_LIMIT = 1000;
const MAX_LIMIT = 100_000;
const MAX_DEPTH = 64;
const MAX_PATH_BYTES = 4095;
/** For what a healthy file system does at once. */
const ANSWER_MS = 30_000;

export function openFiles(core: Core): SandboxFiles {
	return {
		stat: (id, path, options = {}) => statFile(core, id, { path, ...options }),
		list: (id, path, options = {}) => listFiles(core, id, { path, ...options }),
		read: (id, path, options = {}) => readFile(core, id, { path, ...options }),
		write: (id, path, source, options = {}) => writeFile(core, id, { path, source, ...options }),
		makeDirectory: (id, path, options = {}) => makeDirectory(core, id, { path, ...options }),
		move: (id, paths, options = {}) => moveFile(core, id, { ...paths, ...options }),
		remove: (id, path, options = {}) => removeFile(core, id, { path, ...options }),
		setAttributes: (id, path, change, options = {}) =>
			setAttributes(core, id, { path, ...change, ...options }),
		archive: (id, path, options = {}) => archiveFiles(core, id, { path, ...options }),
		extract: (id, path, source, options = {}) => extractFiles(core, id, { path, source, ...options }),
		watch: (id, path, options = {}) => watchFiles(core, id, { path, ...options }),
	};
}

type OnPath<T = FileAccess> = T & { readonly path: string };

function statFile(
	core: Core,
	id: string,
	{ path, followSymlinks = true, ...access }: OnPath<FileAccess & { readonly followSymlinks?: boolean }>,
): Promise<FileInfo> {
	const request = { operation: "stat", path: checkPath(path), followSymlinks } as const;
	return getInfo({ core, id, doing: `looking at ${path}`, request, ...access });
}

function makeDirectory(
	core: Core,
	id: string,
	{
		path,
		mode = DEFAULT_DIRECTORY_MODE,
		parents = false,
		...access
	}: OnPath<FileAccess & { readonly mode?: number; readonly parents?: boolean }>,
): Promise<FileInfo> {
	const request = { operation: "makeDirectory", path: checkPath(path), mode, parents } as const;
	return getInfo({ core, id, doing: `making the directory ${path}`, request, ...access });
}

function moveFile(
	core: Core,
	id: string,
	{
		from,
		to,
		overwrite = false,
		...access
	}: FileAccess & { readonly from: string; readonly to: string; readonly overwrite?: boolean },
): Promise<FileInfo> {
	checkPath(to, "to");
	const request = { operation: "rename", path: checkPath(from, "from"), to, overwrite } as const;
	return getInfo({ core, id, doing: `moving ${from} to ${to}`, request, ...access }, to);
}

function setAttributes(
	core: Core,
	id: string,
	{
		path,
		mode,
		uid,
		gid,
		...access
	}: OnPath<FileAccess & { readonly mode?: number; readonly uid?: number; readonly gid?: number }>,
): Promise<FileInfo> {
	const request = { operation: "setAttributes", path: checkPath(path), mode, uid, gid } as const;
	return getInfo({ core, id, doing: `changing the attributes of ${path}`, request, ...access });
}

async function removeFile(
	core: Core,
	id: string,
	{ path, recursive = false, ...access }: OnPath<FileAccess & { readonly recursive?: boolean }>,
): Promise<void> {
	const request = { operation: "remove", path: checkPath(path), recursive } as const;
	await operate({ core, id, doing: `removing ${path}`, request, ...access }, (operation) => operation.next());
}

function listFiles(
	core: Core,
	id: string,
	{ path, depth = 1, limit = DEFAULT_LIMIT, ...access }: OnPath<ListFiles>,
): Promise<FileList> {
	checkInteger("depth", depth, { min: 1, max: MAX_DEPTH });
	checkInteger("limit", limit, { min: 1, max: MAX_LIMIT });
	const request = { operation: "list", path: checkPath(path), depth, limit } as const;
	return operate({ core, id, doing: `listing ${path}`, request, ...access }, async (operation) => {
		const entries: FileInfo[] = [];
		for (let record = await operation.next(); record; record = await operation.next()) {
			// One more than the limit says that there are more. A worker that goes on beyond that is stopped.
			if (record.type !== "info" || entries.length > limit) throw new FileOperationError("EPROTO");
			entries.push(toInfo(path, record.facts));
		}
		const truncated = entries.length > limit;
		if (truncated) entries.pop();
		entries.sort((a, b) => (a.path < b.path ? -1 : 1));
		return { entries, truncated };
	});
}

function readFile(
	core: Core,
	id: string,
	{ path, offset = 0, length, ...access }: OnPath<ReadFile>,
): Promise<FileContent> {
	const range = { min: 0, max: Number.MAX_SAFE_INTEGER };
	checkInteger("offset", offset, range);
	const wanted = checkInteger("length", length ?? Number.MAX_SAFE_INTEGER, range);
	const request = { operation: "read", path: checkPath(path), offset, length: wanted } as const;
	const call = { core, id, doing: `reading ${path}`, request, answerMs: ANSWER_MS, ...access };
	return stream(call, async (operation) => {
		const info = toInfo(path, await operation.info());
		if (offset > info.sizeBytes) {
			throw new ShaleError(
				"invalid_argument",
				`offset: ${offset} is beyond the end of ${path}, which has ${info.sizeBytes} bytes`,
				{ details: { sizeBytes: info.sizeBytes } },
			);
		}
		const lengthBytes = Math.min(wanted, info.sizeBytes - offset);
		return {
			info,
			offset,
			lengthBytes,
			data: toIterable(call, operation, takeBytes(operation, lengthBytes)),
		};
	});
}

async function archiveFiles(
	core: Core,
	id: string,
	{ path, ...access }: OnPath,
): Promise<AsyncIterable<Buffer>> {
	const request = { operation: "archive", path: checkPath(path) } as const;
	const call = { core, id, doing: `archiving ${path}`, request, answerMs: ANSWER_MS, ...access };
	return stream(call, async (operation) => {
		await operation.info();
		return toIterable(call, operation, takeBytes(operation, Number.POSITIVE_INFINITY));
	});
}

async function watchFiles(
	core: Core,
	id: string,
	{ path, recursive = false, ...access }: OnPath<FileAccess & { readonly recursive?: boolean }>,
): Promise<AsyncIterable<FileEvent>> {
	const request = { operation: "watch", path: checkPath(path), recursive } as const;
	const call = { core, id, doing: `watching ${path}`, request, ...access };
	return stream(call, async (operation) => {
		await operation.info();
		return toIterable(call, operation, async () => {
			const record = await operation.next();
			if (!record) return undefined;
			if (record.type !== "event") throw new FileOperationError("EPROTO");
			return toEvent(path, record.change);
		});
	});
}

function writeFile(
	core: Core,
	id: string,
	{
		path,
		source,
		mode = DEFAULT_FILE_MODE,
		parents = false,
		overwrite = true,
		...access
	}: OnPath<WriteFile & { readonly source: AsyncIterable<Uint8Array> }>,
): Promise<FileInfo> {
	const request = { operation: "write", path: checkPath(path), mode, parents, overwrite } as const;
	return operate({ core, id, doing: `writing ${path}`, request, ...access }, async (operation) => {
		void operation.send(source);
		const info = toInfo(path, await operation.info());
		await operation.next();
		return info;
	});
}

function extractFiles(
	core: Core,
	id: string,
	{ path, source, ...access }: OnPath<FileAccess & { readonly source: AsyncIterable<Uint8Array> }>,
): Promise<{ readonly entries: number }> {
	const request = { operation: "extract", path: checkPath(path) } as const;
	return operate({ core, id, doing: `extracting into ${path}`, request, ...access }, async (operation) => {
		void operation.send(source);
		await operation.next();
		return { entries: operation.count };
	});
}

function getInfo(call: Call, path = call.request.path): Promise<FileInfo> {
	return operate({ ...call, answerMs: ANSWER_MS }, async (operation) => {
		const info = toInfo(path, await operation.info());
		await operation.next();
		return info;
	});
}

function toInfo(guestPath: string, facts: FileFacts): FileInfo {
	const path = join(guestPath, facts.path);
	const { type, sizeBytes, mode, uid, gid, target } = facts;
	const modifiedAt = new Date(facts.modifiedMs).toISOString();
	return { name: posix.basename(path) || "/", path, type, sizeBytes, mode, uid, gid, modifiedAt, target };
}

function toEvent(guestPath: string, change: FileChange): FileEvent {
	return { ...change, path: join(guestPath, change.path) };
}

/** Nothing of what the request said is resolved here; only slashes at its end go. */
function join(guestPath: string, relative: string): string {
	const base = guestPath.replace(/\/+$/, "");
	if (relative === "") return base === "" ? "/" : base;
	return `${base}/${relative}`;
}

/** What is announced and no more, whatever the worker sends. */
function takeBytes(operation: FileOperation, lengthBytes: number): () => Promise<Buffer | undefined> {
	let left = lengthBytes;
	return async () => {
		const record = await operation.next();
		if (record && (record.type !== "bytes" || record.data.length > left))
			throw new FileOperationError("EPROTO");
		if (record) left -= record.data.length;
		else if (left > 0 && left !== Number.POSITIVE_INFINITY) throw new FileOperationError("EPROTO");
		return record?.data;
	};
}

function checkPath(path: string, field = "path"): string {
	if (path.startsWith("/") && !path.includes("\0") && Buffer.byteLength(path) <= MAX_PATH_BYTES) return path;
	throw new ShaleError("invalid_argument", `${field}: it is not an absolute path of the sandbox`, {
		hint: `Begin with a slash; at most ${MAX_PATH_BYTES} bytes and no NUL.`,
	});
}

function checkInteger(field: string, value: number, range: { min: number; max: number }): number {
	if (Number.isInteger(value) && value >= range.min && value <= range.max) return value;
	throw new ShaleError(
		"invalid_argument",
		`${field}: ${value} is not an integer from ${range.min} to ${range.max}`,
	);
}
