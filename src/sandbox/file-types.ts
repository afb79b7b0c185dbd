/** What the core takes and gives about files. Every path is the sandbox's own, absolute, and resolved inside of it. */
import type { FileChange, FileType } from "../agent/files.ts";

export type { FileType };

export interface FileInfo {
	readonly name: string;
	readonly path: string;
	readonly type: FileType;
	readonly sizeBytes: number;
	/** Permission bits, 0 to 0o7777. */
	readonly mode: number;
	readonly uid: number;
	readonly gid: number;
	readonly modifiedAt: string;
	/** Where a symlink points, as it is written; null for anything else. */
	readonly target: string | null;
}

/** Whose rights count, and what ends the operation. */
export interface FileAccess {
	/** Default: the sandbox's own default user. */
	readonly user?: string | undefined;
	readonly signal?: AbortSignal | undefined;
}

export interface ReadFile extends FileAccess {
	/** Default 0. Beyond the end: `invalid_argument` with `details.sizeBytes`. */
	readonly offset?: number | undefined;
	/** Default: to the end. */
	readonly length?: number | undefined;
}

export interface FileContent {
	readonly info: FileInfo;
	/** Of the first byte of `data`, and how many it gives unless the file shrinks meanwhile, which makes it throw. */
	readonly offset: number;
	readonly lengthBytes: number;
	/** To be read once, to the end or to `return()`. Read no faster than it is consumed. */
	readonly data: AsyncIterable<Buffer>;
}

export interface WriteFile extends FileAccess {
	/** Of a new file; default 0o644. An existing file keeps its own. */
	readonly mode?: number | undefined;
	/** Makes missing directories above it. */
	readonly parents?: boolean | undefined;
	/** False: an existing file is a `conflict`. Default true. */
	readonly overwrite?: boolean | undefined;
}

export interface ListFiles extends FileAccess {
	/** 1 (default): the directory's own entries; N: those of N levels. At most 64. */
	readonly depth?: number | undefined;
	/** Default 1000, at most 100,000. */
	readonly limit?: number | undefined;
}

export interface FileList {
	/** By path. The directory itself is not among them. */
	readonly entries: readonly FileInfo[];
	/** True when there were more than `limit`. */
	readonly truncated: boolean;
}

export interface FileEvent {
	readonly type: FileChange["type"];
	readonly path: string;
	readonly isDirectory: boolean;
}

/**
 * All throw ShaleError: `not_found` (ENOENT), `forbidden` (EACCES, EPERM, EROFS), `conflict` (EEXIST, ENOTEMPTY, ENOTDIR,
 * EISDIR, EBUSY, ELOOP), `resource_exhausted` (ENOSPC, EDQUOT), `invalid_argument`; the message names the path.
 */
export interface SandboxFiles {
	stat(
		id: string,
		guestPath: string,
		options?: FileAccess & { readonly followSymlinks?: boolean },
	): Promise<FileInfo>;
	list(id: string, guestPath: string, options?: ListFiles): Promise<FileList>;
	read(id: string, guestPath: string, options?: ReadFile): Promise<FileContent>;
	/** Atomic: other programs see the old file or the whole new one. When `source` throws, the old one stays. */
	write(
		id: string,
		guestPath: string,
		source: AsyncIterable<Uint8Array>,
		options?: WriteFile,
	): Promise<FileInfo>;
	makeDirectory(
		id: string,
		guestPath: string,
		options?: FileAccess & { readonly mode?: number; readonly parents?: boolean },
	): Promise<FileInfo>;
	/** rename(2). `overwrite` false (default): an existing target is a `conflict`. */
	move(
		id: string,
		paths: { readonly from: string; readonly to: string },
		options?: FileAccess & { readonly overwrite?: boolean },
	): Promise<FileInfo>;
	/** A directory with contents needs `recursive`. Symlinks are removed, never followed. */
	remove(
		id: string,
		guestPath: string,
		options?: FileAccess & { readonly recursive?: boolean },
	): Promise<void>;
	setAttributes(
		id: string,
		guestPath: string,
		change: { readonly mode?: number; readonly uid?: number; readonly gid?: number },
		options?: FileAccess,
	): Promise<FileInfo>;
	/** A pax tar (POSIX.1-2001) of a file or of a directory's contents. */
	archive(id: string, guestPath: string, options?: FileAccess): Promise<AsyncIterable<Buffer>>;
	/** Unpacks a tar (pax, ustar, GNU names) below a directory, which is made; nothing is written outside of it. */
	extract(
		id: string,
		guestPath: string,
		source: AsyncIterable<Uint8Array>,
		options?: FileAccess,
	): Promise<{ readonly entries: number }>;
	/** inotify(7). Ends with `return()`, the signal, or the sandbox; `overflow` says that events were lost. */
	watch(
		id: string,
		guestPath: string,
		options?: FileAccess & { readonly recursive?: boolean },
	): Promise<AsyncIterable<FileEvent>>;
}
