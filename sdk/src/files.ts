/** The files of a sandbox. What is large is streamed: nothing is held in memory but by those calls that give it whole. */
import { ShaleApiError, ShaleConnectionError } from "./errors.ts";
import type { FileEvent, FileInfo, FileList } from "./file-types.ts";
import { toReadableStream } from "./http.ts";
import type { ServerSentEvent } from "./sse.ts";
import { apiPath, type RequestOptions, type Transport } from "./transport.ts";

export interface FileOptions {
	/** Whose rights count: `uid[:gid]` or a name. Default: the sandbox's own user. */
	readonly user?: string | undefined;
	readonly signal?: AbortSignal | undefined;
}

export interface ReadOptions extends FileOptions {
	/** Default 0. Beyond the end it is refused with `invalid_argument`. */
	readonly offset?: number | undefined;
	/** At least 1. Default: to the end. */
	readonly length?: number | undefined;
}

export interface WriteOptions extends FileOptions {
	/** Of a new file; default 0o644. An existing file keeps its own. */
	readonly mode?: number | undefined;
	/** Makes missing directories above it. */
	readonly parents?: boolean | undefined;
	/** False: an existing file is a `conflict`. Default true. */
	readonly overwrite?: boolean | undefined;
}

/** What is written. Streams, and anything else that gives bytes in a loop, are sent as they come, and read once. */
export type FileData = string | Uint8Array | Blob | AsyncIterable<Uint8Array>;

/** As the API has it. */
type WireFileInfo = Omit<FileInfo, "mode"> & { readonly mode: string };

type Query = Readonly<Record<string, string | undefined>>;

export class Files {
	readonly #transport: Transport;
	readonly #sandboxId: string;

	constructor(transport: Transport, sandboxId: string) {
		this.#transport = transport;
		this.#sandboxId = sandboxId;
	}

	/** All of it, or a part, in memory. */
	async read(path: string, options: ReadOptions = {}): Promise<Uint8Array> {
		const chunks: Uint8Array[] = [];
		let length = 0;
		for await (const chunk of await this.#readBytes(path, options)) {
			chunks.push(chunk);
			length += chunk.length;
		}
		const bytes = new Uint8Array(length);
		let at = 0;
		for (const chunk of chunks) {
			bytes.set(chunk, at);
			at += chunk.length;
		}
		return bytes;
	}

	/** As UTF-8, invalid bytes as U+FFFD. */
	async readText(path: string, options: ReadOptions = {}): Promise<string> {
		return new TextDecoder().decode(await this.read(path, options));
	}

	/** For files of any size; also for `for await`. It fails when the connection breaks before the end. */
	async readStream(path: string, options: ReadOptions = {}): Promise<ReadableStream<Uint8Array>> {
		return toReadableStream(await this.#readBytes(path, options));
	}

	/** Atomic: programs see the old file or the whole new one. When `data` fails, so does this, with its error. */
	async write(path: string, data: FileData, options: WriteOptions = {}): Promise<FileInfo> {
		const { mode, parents, overwrite } = options;
		const query = { mode: toOctal(mode), parents: toText(parents), overwrite: toText(overwrite) };
		return toFileInfo(await this.#send<WireFileInfo>("content", path, { data, query, options }));
	}

	/** A symlink is described as such, unless `followSymlinks` is true. */
	async stat(
		path: string,
		options: FileOptions & { readonly followSymlinks?: boolean | undefined } = {},
	): Promise<FileInfo> {
		const query = { followSymlinks: toText(options.followSymlinks) };
		return toFileInfo(await this.#json<WireFileInfo>("GET", "", { path, query, options }));
	}

	/** Whether something is there; a symlink that leads nowhere is nothing. @throws when there is no such sandbox */
	async exists(path: string, options: FileOptions = {}): Promise<boolean> {
		try {
			await this.stat(path, { ...options, followSymlinks: true });
			return true;
		} catch (error) {
			if (!(error instanceof ShaleApiError) || error.code !== "not_found") throw error;
			await this.#transport.send("GET", apiPath("sandboxes", this.#sandboxId), { signal: options.signal });
			return false;
		}
	}

	async list(
		path: string,
		options: FileOptions & {
			/** 1 (default): the directory's own entries; N: those of N levels. At most 64. */
			readonly depth?: number | undefined;
			/** Default 1000, at most 100,000. */
			readonly limit?: number | undefined;
		} = {},
	): Promise<FileList> {
		const query = { depth: options.depth?.toString(), limit: options.limit?.toString() };
		const answer = { path, query, options };
		const { entries, truncated } = await this.#json<{ entries: WireFileInfo[]; truncated: boolean }>(
			"GET",
			"list",
			answer,
		);
		return { entries: entries.map(toFileInfo), truncated };
	}

	/** With `parents` also those above it, and then an existing one is none the worse. */
	async makeDir(
		path: string,
		options: FileOptions & {
			readonly mode?: number | undefined;
			readonly parents?: boolean | undefined;
		} = {},
	): Promise<FileInfo> {
		const { user, signal, mode, parents } = options;
		const json = { path, user, mode: toOctal(mode), parents };
		return toFileInfo(await this.#transport.json("POST", this.#path("directories"), { json, signal }));
	}

	/** As rename(2). Without `overwrite` an existing target is a `conflict`. */
	async move(
		from: string,
		to: string,
		{ user, signal, overwrite }: FileOptions & { readonly overwrite?: boolean | undefined } = {},
	): Promise<FileInfo> {
		const json = { from, to, overwrite, user };
		return toFileInfo(await this.#transport.json("POST", this.#path("move"), { json, signal }));
	}

	/** A directory with contents needs `recursive`. Symlinks are removed, never followed. */
	async remove(
		path: string,
		{ user, signal, recursive }: FileOptions & { readonly recursive?: boolean | undefined } = {},
	): Promise<void> {
		const query = { path, user, recursive: toText(recursive) };
		await this.#transport.send("DELETE", this.#path(), { query, signal });
	}

	async chmod(path: string, mode: number, options: FileOptions = {}): Promise<FileInfo> {
		return await this.#change(path, { mode: toOctal(mode) }, options);
	}

	async chown(
		path: string,
		owner: { readonly uid?: number | undefined; readonly gid?: number | undefined },
		options: FileOptions = {},
	): Promise<FileInfo> {
		return await this.#change(path, owner, options);
	}

	/** The contents of a directory, or a file, as a tar. It fails when the connection breaks before the end. */
	async download(path: string, options: FileOptions = {}): Promise<ReadableStream<Uint8Array>> {
		const { user, signal } = options;
		const query = { path, user };
		return toReadableStream(await this.#transport.bytes("GET", this.#path("archive"), { query, signal }));
	}

	/** Unpacks a tar, not compressed, below a directory, which is made. What came before an error stays. */
	async upload(
		path: string,
		tar: FileData,
		options: FileOptions = {},
	): Promise<{ readonly entries: number }> {
		return await this.#send("archive", path, { data: tar, query: {}, options });
	}

	/**
	 * What changes in a directory, or of a file, from when this resolves. Ends with the sandbox; leaving the loop, or the
	 * signal, ends the watch.
	 */
	async watch(
		path: string,
		options: FileOptions & { readonly recursive?: boolean | undefined } = {},
	): Promise<AsyncGenerator<FileEvent>> {
		const { user, signal, recursive } = options;
		const query = { path, user, recursive: toText(recursive) };
		const events = await this.#transport.serverSentEvents("GET", this.#path("watch"), { query, signal });
		return toFileEvents(events);
	}

	async #readBytes(path: string, options: ReadOptions): Promise<AsyncGenerator<Uint8Array>> {
		const { user, signal } = options;
		const request = { query: { path, user }, signal, headers: toRange(options) };
		return await this.#transport.bytes("GET", this.#path("content"), request);
	}

	async #change(path: string, json: object, { user, signal }: FileOptions): Promise<FileInfo> {
		return toFileInfo(
			await this.#transport.json("PATCH", this.#path(), { query: { path, user }, json, signal }),
		);
	}

	async #json<T>(
		method: string,
		sub: string,
		{ path, query, options }: { readonly path: string; readonly query: Query; readonly options: FileOptions },
	): Promise<T> {
		const { user, signal } = options;
		const request: RequestOptions = { query: { path, user, ...query }, signal };
		return await this.#transport.json(method, sub === "" ? this.#path() : this.#path(sub), request);
	}

	async #send<T>(
		sub: string,
		path: string,
		{
			data,
			query,
			options,
		}: { readonly data: FileData; readonly query: Query; readonly options: FileOptions },
	): Promise<T> {
		const { user, signal } = options;
		const source = new Source(data);
		try {
			const request: RequestOptions = { query: { path, user, ...query }, body: source.body, signal };
			return await this.#transport.json("PUT", this.#path(sub), request);
		} catch (error) {
			throw source.failure ? source.failure.error : error;
		}
	}

	#path(...parts: readonly string[]): string {
		return apiPath("sandboxes", this.#sandboxId, "files", ...parts);
	}
}

/** Data to send; remembers why it failed, as the connection's error that follows from it does not tell. */
class Source {
	readonly body: Blob | Uint8Array | AsyncIterable<Uint8Array>;
	failure: { readonly error: unknown } | undefined;

	constructor(data: FileData) {
		if (typeof data === "string") this.body = new TextEncoder().encode(data);
		else this.body = Symbol.asyncIterator in data ? this.#watched(data) : data;
	}

	async *#watched(data: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
		try {
			yield* data;
		} catch (error) {
			this.failure = { error };
			throw error;
		}
	}
}

/** @throws RangeError */
function toRange({ offset = 0, length }: ReadOptions): Readonly<Record<string, string>> {
	if (length !== undefined && length < 1) throw new RangeError(`length: must be at least 1, not ${length}`);
	if (offset === 0 && length === undefined) return {};
	return { Range: `bytes=${offset}-${length === undefined ? "" : offset + length - 1}` };
}

function toOctal(mode: number | undefined): string | undefined {
	return mode?.toString(8).padStart(4, "0");
}

function toText(flag: boolean | undefined): string | undefined {
	return flag === undefined ? undefined : String(flag);
}

function toFileInfo({ mode, ...info }: WireFileInfo): FileInfo {
	return { ...info, mode: Number.parseInt(mode, 8) };
}

async function* toFileEvents(events: AsyncIterable<ServerSentEvent>): AsyncGenerator<FileEvent> {
	for await (const { event, data } of events) {
		if (!isEventType(event)) continue;
		const { path, isDirectory } = data;
		if (typeof path !== "string") throw new ShaleConnectionError(`the daemon sent "${event}" without a path`);
		yield { type: event, path, isDirectory: isDirectory === true };
	}
}

const EVENT_TYPES: readonly string[] = [
	"created",
	"modified",
	"removed",
	"moved_from",
	"moved_to",
	"overflow",
] satisfies FileEvent["type"][];

/** Those of a newer daemon are skipped. */
function isEventType(name: string): name is FileEvent["type"] {
	return EVENT_TYPES.includes(name);
}
