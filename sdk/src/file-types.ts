/** The shapes of files. Every path is the sandbox's own, absolute. */

export type FileType = "file" | "directory" | "symlink" | "fifo" | "socket" | "block" | "character";

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

export interface FileList {
	/** By path. The directory itself is not among them. */
	readonly entries: readonly FileInfo[];
	/** True when there were more than `limit`. */
	readonly truncated: boolean;
}

export interface FileEvent {
	/** `overflow` says that events were lost. */
	readonly type: "created" | "modified" | "removed" | "moved_from" | "moved_to" | "overflow";
	readonly path: string;
	readonly isDirectory: boolean;
}
