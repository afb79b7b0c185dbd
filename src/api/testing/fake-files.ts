/** Files of a sandbox without a kernel: a tree in memory, and a few paths that misbehave on purpose. */
import { posix } from "node:path";
import { packTar, unpackTar } from "modern-tar";
import { ShaleError } from "../../lib/errors.ts";
import type {
	FileAccess,
	FileContent,
	FileEvent,
	FileInfo,
	FileList,
	FileType,
	ListFiles,
	ReadFile,
	SandboxFiles,
	WriteFile,
} from "../../sandbox/file-types.ts";

interface FakeFile {
	readonly type: FileType;
	readonly data: Buffer;
	mode: number;
	uid: number;
	gid: number;
	modifiedAt: string;
	readonly target: string | null;
}

export const WRITTEN_AT = "2026-11-01T00:00:00.000Z";

/** What `/endless` gives at a time. */
export const PIECE_BYTES = 65_536;

/** Contents that need no memory, or that fail: by path. */
const STREAMS: Readonly<Record<string, { readonly sizeBytes: number; readonly endsAfter?: number }>> = {
	"/endless": { sizeBytes: 1024 ** 4 },
	"/breaks": { sizeBytes: 1024 ** 2, endsAfter: PIECE_BYTES },
};

export class FakeFiles implements SandboxFiles {
	readonly tree = new Map<string, FakeFile>();
	/** Answers of `archive`, for paths whose tar a test brings along. */
	readonly archives = new Map<string, Uint8Array>();
	/** What was asked, for tests to look at. */
	readonly asked: { readonly call: string; readonly path: string; readonly options: object | undefined }[] =
		[];
	/** Bytes that were read from the streams above, and whether their source was ended. */
	readBytes = 0;
	isEnded = false;
	receivedBytes = 0;
	writeError: unknown;
	/** Uploads are taken no faster than this lets them. */
	holdWrite: Promise<void> = Promise.resolve();
	emitEvent: (event: FileEvent | Error) => void = () => undefined;

	constructor() {
		this.put("/", { type: "directory", mode: 0o755 });
	}

	/** The options of the last call. */
	get options(): Readonly<Record<string, unknown>> {
		return { ...this.asked.at(-1)?.options };
	}

	put(path: string, file: Partial<FakeFile> & { readonly text?: string } = {}): void {
		const { text = "", ...fields } = file;
		const defaults = {
			type: "file" as const,
			data: Buffer.from(text),
			mode: 0o644,
			uid: 0,
			gid: 0,
			target: null,
		};
		this.tree.set(path, { ...defaults, modifiedAt: WRITTEN_AT, ...fields });
	}

	text(path: string): string | undefined {
		return this.tree.get(path)?.data.toString();
	}

	async stat(_id: string, path: string, options?: FileAccess & { readonly followSymlinks?: boolean }) {
		this.#note("stat", path, options);
		return this.#info(options?.followSymlinks ? this.#follow(path) : trim(path));
	}

	async list(_id: string, path: string, options: ListFiles = {}): Promise<FileList> {
		this.#note("list", path, options);
		const { depth = 1, limit = 1000 } = options;
		const below = this.#below(path).filter((name) => name.split("/").length <= depth);
		const entries = below.slice(0, limit).map((name) => this.#info(posix.join(path, name)));
		return { entries, truncated: below.length > limit };
	}

	async read(_id: string, given: string, options: ReadFile = {}): Promise<FileContent> {
		this.#note("read", given, options);
		const { signal } = options;
		const path = this.#follow(given);
		const stream = STREAMS[path];
		if (stream) {
			const info = { ...this.#describe(path, newFile()), sizeBytes: stream.sizeBytes };
			return {
				info,
				offset: 0,
				lengthBytes: stream.sizeBytes,
				data: this.#endless(stream.endsAfter, signal),
			};
		}
		const info = this.#info(path);
		if (info.type === "directory") throw new ShaleError("conflict", `${path} is a directory`);
		const { offset = 0, length = info.sizeBytes } = options;
		if (offset > info.sizeBytes) {
			const details = { sizeBytes: info.sizeBytes };
			throw new ShaleError("invalid_argument", `offset: ${path} has only ${info.sizeBytes} bytes`, {
				details,
			});
		}
		const data = this.tree.get(path)?.data.subarray(offset, offset + length) ?? Buffer.alloc(0);
		return { info, offset, lengthBytes: data.length, data: pieces(data) };
	}

	async write(_id: string, path: string, source: AsyncIterable<Uint8Array>, options: WriteFile = {}) {
		this.#note("write", path, options);
		if (options.overwrite === false && this.tree.has(path))
			throw new ShaleError("conflict", `${path} exists`);
		if (this.tree.get(path)?.type === "directory") throw new ShaleError("conflict", `${path} is a directory`);
		if (!options.parents) this.#get(posix.dirname(path));
		const parts: Uint8Array[] = [];
		try {
			for await (const part of source) {
				await this.holdWrite;
				this.receivedBytes += part.length;
				// The large uploads of tests are counted, not kept.
				if (path !== "/null") parts.push(part);
			}
		} catch (error) {
			this.writeError = error;
			throw error;
		}
		const { mode } = this.tree.get(path) ?? { mode: options.mode ?? 0o644 };
		this.put(path, { data: Buffer.concat(parts), mode });
		return this.#info(path);
	}

	async makeDirectory(
		_id: string,
		path: string,
		options?: { readonly mode?: number; readonly parents?: boolean },
	) {
		this.#note("makeDirectory", path, options);
		if (!options?.parents && this.tree.has(path)) throw new ShaleError("conflict", `${path} exists`);
		this.put(path, { type: "directory", mode: options?.mode ?? 0o755 });
		return this.#info(path);
	}

	async move(_id: string, { from, to }: { readonly from: string; readonly to: string }, options?: object) {
		this.#note("move", from, options);
		this.tree.set(to, this.#get(from));
		this.tree.delete(from);
		return this.#info(to);
	}

	async remove(_id: string, path: string, options?: { readonly recursive?: boolean }): Promise<void> {
		this.#note("remove", path, options);
		this.#get(path);
		const below = this.#below(path);
		if (below.length > 0 && !options?.recursive) throw new ShaleError("conflict", `${path} is not empty`);
		for (const name of below) this.tree.delete(posix.join(path, name));
		this.tree.delete(path);
	}

	async setAttributes(_id: string, path: string, change: { readonly mode?: number }, options?: FileAccess) {
		this.#note("setAttributes", path, { ...change, ...options });
		Object.assign(this.#get(path), change);
		return this.#info(path);
	}

	async archive(_id: string, path: string, options?: FileAccess): Promise<AsyncIterable<Buffer>> {
		this.#note("archive", path, options);
		if (STREAMS[path]) return this.#endless(STREAMS[path].endsAfter, options?.signal);
		const given = this.archives.get(path);
		if (given) return pieces(Buffer.from(given));
		const root = this.#follow(path);
		const isDirectory = this.#get(root).type === "directory";
		const names = isDirectory ? [".", ...this.#below(root)] : [posix.basename(root)];
		const base = isDirectory ? root : posix.dirname(root);
		const tar = await packTar(names.map((name) => toEntry(name, this.#get(posix.join(base, name)))));
		return pieces(Buffer.from(tar));
	}

	async extract(_id: string, path: string, source: AsyncIterable<Uint8Array>, options?: FileAccess) {
		this.#note("extract", path, options);
		const parts: Uint8Array[] = [];
		for await (const part of source) parts.push(part);
		const entries = await unpackTar(Buffer.concat(parts), { strict: true });
		if (!this.tree.has(path)) this.put(path, { type: "directory", mode: 0o755 });
		for (const { header, data } of entries) {
			const { type = "file", mode = 0, mtime = new Date(0), linkname = "" } = header;
			this.put(trim(posix.join(path, header.name)), {
				type: type as FileType,
				data: Buffer.from(data ?? []),
				mode,
				modifiedAt: mtime.toISOString(),
				target: type === "symlink" ? linkname : null,
			});
		}
		return { entries: entries.length };
	}

	async watch(_id: string, path: string, options?: FileAccess): Promise<AsyncIterable<FileEvent>> {
		this.#note("watch", path, options);
		this.#get(path);
		const queue: (FileEvent | Error | undefined)[] = [];
		let wake = Promise.withResolvers<void>();
		const push = (event: FileEvent | Error | undefined) => {
			queue.push(event);
			wake.resolve();
		};
		this.emitEvent = push;
		options?.signal?.addEventListener("abort", () => push(undefined));
		const files = this;
		return (async function* () {
			try {
				for (;;) {
					while (queue.length === 0) await wake.promise;
					wake = Promise.withResolvers<void>();
					const event = queue.shift();
					if (event === undefined) return;
					if (event instanceof Error) throw event;
					yield event;
				}
			} finally {
				files.isEnded = true;
			}
		})();
	}

	/** Ends when its reader leaves, or when the signal aborts, even in the middle of a wait. */
	async *#endless(endsAfter = Number.POSITIVE_INFINITY, signal?: AbortSignal): AsyncGenerator<Buffer> {
		const piece = Buffer.alloc(PIECE_BYTES, "y");
		try {
			for (let given = 0; given < endsAfter; given += piece.length) {
				signal?.throwIfAborted();
				this.readBytes += piece.length;
				yield piece;
			}
			throw new ShaleError("unavailable", "the agent does not answer");
		} finally {
			this.isEnded = true;
		}
	}

	#note(call: string, path: string, options: object | undefined): void {
		this.asked.push({ call, path, options });
	}

	#get(path: string): FakeFile {
		const file = this.tree.get(trim(path));
		if (!file) throw new ShaleError("not_found", `there is no ${path}`);
		return file;
	}

	#follow(path: string): string {
		const target = this.tree.get(trim(path))?.target;
		return target == null ? trim(path) : this.#follow(posix.resolve(posix.dirname(path), target));
	}

	#info(path: string): FileInfo {
		return this.#describe(path, this.#get(path));
	}

	#describe(path: string, { data, ...file }: FakeFile): FileInfo {
		return { name: posix.basename(path), path, sizeBytes: data.length, ...file };
	}

	/** Names below a directory, relative to it, by path. */
	#below(path: string): string[] {
		const prefix = path === "/" ? "/" : `${path}/`;
		const names = [...this.tree.keys()].filter((name) => name !== "/" && name.startsWith(prefix));
		return names.map((name) => name.slice(prefix.length)).toSorted();
	}
}

function newFile(): FakeFile {
	return {
		type: "file",
		data: Buffer.alloc(0),
		mode: 0o644,
		uid: 0,
		gid: 0,
		modifiedAt: WRITTEN_AT,
		target: null,
	};
}

function trim(path: string): string {
	return path.replace(/(.)\/\.?$/, "$1");
}

function toEntry(name: string, { type, data, mode, modifiedAt, target }: FakeFile) {
	const header = { name, mode, mtime: new Date(modifiedAt), size: 0 };
	if (type === "file") return { header: { ...header, type, size: data.length }, data };
	if (type === "symlink") return { header: { ...header, type, linkname: target ?? "" } };
	if (type === "directory") return { header: { ...header, type } };
	return { header: { ...header, type: "fifo" as const } };
}

async function* pieces(data: Buffer): AsyncGenerator<Buffer> {
	for (let start = 0; start < data.length; start += PIECE_BYTES)
		yield data.subarray(start, start + PIECE_BYTES);
}
