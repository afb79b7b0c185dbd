/** The two ends of a copy, as copy.ts sees them: each is on this machine, in a sandbox, or a pipe. */

import { posix } from "node:path";

/** What is at a path, symlinks followed. */
export type Node = FileNode | DirectoryNode;

export interface FileNode {
	readonly type: "file";
	/** Undefined for what is read to its end, wherever that is: pipes. */
	readonly sizeBytes: number | undefined;
	/** Permission bits; undefined where there are none to keep. */
	readonly mode: number | undefined;
	readonly modifiedAt: Date | undefined;
}

export interface DirectoryNode {
	readonly type: "directory";
	readonly mode: number;
	readonly modifiedAt: Date;
}

/** Gives bytes in a loop, once; leaving the loop ends what they come from. */
export type Bytes = AsyncIterable<Uint8Array>;

export interface CopySource {
	/** As the user wrote it. */
	readonly path: string;
	/** The last name of the path, which the copy gets in a directory. Empty for `/`, `DIR/.` and the like: their contents. */
	readonly name: string;
	/** @throws ShaleError `not_found`, and `conflict` for what cannot be copied */
	get(): Promise<Node>;
	readFile(): Promise<Bytes>;
	/** A tar of what is in the directory. */
	readDirectory(): Promise<Bytes>;
}

export interface CopyTarget {
	readonly path: string;
	/** Undefined when nothing is there. */
	find(path: string): Promise<Node | undefined>;
	/** Whole or not at all: an old file stays until all of the new one has come. */
	writeFile(path: string, node: FileNode, data: Bytes): Promise<void>;
	/** Makes the directory when it is not there, and unpacks the tar in it. */
	writeDirectory(path: string, node: DirectoryNode, tar: Bytes): Promise<void>;
}

/** {@link CopySource.name} of a path. */
export function toName(path: string): string {
	const name = posix.basename(path);
	return name === "." || name === ".." ? "" : name;
}
