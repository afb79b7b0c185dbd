/** This machine's end of a copy. */
import type { Stats } from "node:fs";
import { chmod, mkdir, realpath, stat, utimes } from "node:fs/promises";
import { resolve } from "node:path";
import { errnoCode, ShaleError } from "../../lib/errors.ts";
import {
	type Bytes,
	type CopySource,
	type CopyTarget,
	type DirectoryNode,
	type FileNode,
	type Node,
	toName,
} from "./ends.ts";
import { onHost } from "./host-errors.ts";
import { writeHostFile } from "./host-file.ts";
import { packDirectory, readHostFile } from "./tar-pack.ts";
import { type UnpackOptions, unpack } from "./tar-unpack.ts";

export class HostEnd implements CopySource, CopyTarget {
	readonly path: string;
	readonly name: string;
	readonly #options: UnpackOptions;

	constructor(path: string, options: UnpackOptions) {
		this.path = path;
		this.name = toName(path);
		this.#options = options;
	}

	async get(): Promise<Node> {
		const status = await onHost(`reading ${this.path}`, () => stat(this.path));
		// What has no end of its own is read until there is no more, as `<(program)`.
		if (status.isFIFO() || status.isCharacterDevice()) return { ...toFileNode(status), sizeBytes: undefined };
		return toNode(this.path, status);
	}

	async find(path: string): Promise<Node | undefined> {
		try {
			return toNode(path, await stat(path));
		} catch (error) {
			if (errnoCode(error) === "ENOENT") return undefined;
			return await onHost(`looking at ${path}`, () => Promise.reject(error));
		}
	}

	async readFile(): Promise<Bytes> {
		const node = await this.get();
		return readHostFile(this.path, node.type === "file" ? node.sizeBytes : undefined);
	}

	async readDirectory(): Promise<Bytes> {
		return packDirectory(this.path, this.#options.onSkip);
	}

	/** Where a symlink points to, as cp(1) does. */
	async writeFile(path: string, { mode, modifiedAt }: FileNode, data: Bytes): Promise<void> {
		const hostPath = await realpath(path).catch(() => resolve(path));
		const attributes = { mode: mode === undefined ? undefined : this.#toMode(mode), modifiedAt };
		await onHost(`writing ${path}`, () => writeHostFile(hostPath, data, attributes));
	}

	async writeDirectory(path: string, { mode, modifiedAt }: DirectoryNode, tar: Bytes): Promise<void> {
		const isNew = await onHost(`making ${path}`, () => makeDirectory(path));
		await unpack(path, tar, this.#options);
		if (!isNew) return;
		await onHost(`writing ${path}`, async () => {
			await chmod(path, this.#toMode(mode));
			await utimes(path, modifiedAt, modifiedAt);
		});
	}

	#toMode(mode: number): number {
		return mode & (this.#options.keepSetuid ? 0o7777 : 0o777);
	}
}

/** False when it was there. */
async function makeDirectory(hostPath: string): Promise<boolean> {
	try {
		await mkdir(hostPath, 0o700);
		return true;
	} catch (error) {
		if (errnoCode(error) === "EEXIST") return false;
		throw error;
	}
}

function toNode(path: string, status: Stats): Node {
	if (status.isFile()) return toFileNode(status);
	if (status.isDirectory())
		return { type: "directory", mode: status.mode & 0o7777, modifiedAt: status.mtime };
	throw new ShaleError("conflict", `${path} is neither a file nor a directory`);
}

function toFileNode({ size, mode, mtime }: Stats): FileNode {
	return { type: "file", sizeBytes: size, mode: mode & 0o7777, modifiedAt: mtime };
}
