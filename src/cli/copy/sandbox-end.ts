/** A sandbox's end of a copy. */
import { randomBytes } from "node:crypto";
import { posix } from "node:path";
import { type FileInfo, type FileOptions, type Files, ShaleApiError } from "../../../sdk/src/index.ts";
import { ShaleError } from "../../lib/errors.ts";
import {
	type Bytes,
	type CopySource,
	type CopyTarget,
	type DirectoryNode,
	type FileNode,
	type Node,
	toName,
} from "./ends.ts";
import { packFile } from "./tar-pack.ts";

/** Of the directories that unpacking makes. */
const NEW_DIRECTORY_MODE = 0o755;

export class SandboxEnd implements CopySource, CopyTarget {
	readonly path: string;
	readonly name: string;
	readonly #files: Files;
	readonly #options: FileOptions;

	constructor(files: Files, path: string, options: FileOptions) {
		this.path = path;
		this.name = toName(path);
		this.#files = files;
		this.#options = options;
	}

	async get(): Promise<Node> {
		return toNode(await this.#files.stat(this.path, { ...this.#options, followSymlinks: true }));
	}

	async find(path: string): Promise<Node | undefined> {
		const info = await this.#find(path, { followSymlinks: true });
		return info && toNode(info);
	}

	async readFile(): Promise<Bytes> {
		return await this.#files.readStream(this.path, this.#options);
	}

	async readDirectory(): Promise<Bytes> {
		return await this.#files.download(this.path, this.#options);
	}

	/**
	 * As a tar of one file, which brings mode and time along, under a name of its own that it loses when it is whole.
	 * Behind a symlink, and from where neither size nor time is known, only the content is replaced.
	 */
	async writeFile(path: string, node: FileNode, data: Bytes): Promise<void> {
		const { sizeBytes, mode, modifiedAt } = node;
		const there = await this.#find(path, { followSymlinks: false });
		const isPlain = sizeBytes !== undefined && mode !== undefined && modifiedAt !== undefined;
		if (!isPlain || there?.type === "symlink") {
			await this.#files.write(path, data, { mode, ...this.#options });
			return;
		}
		const folder = posix.dirname(path);
		const fresh = `.shale-${randomBytes(6).toString("hex")}`;
		await this.#files.upload(folder, packFile(fresh, { sizeBytes, mode, modifiedAt }, data), this.#options);
		const freshPath = posix.join(folder, fresh);
		try {
			await this.#files.move(freshPath, path, { ...this.#options, overwrite: true });
		} catch (error) {
			const { user } = this.#options;
			await this.#files.remove(freshPath, { user }).catch(() => undefined);
			throw error;
		}
	}

	async writeDirectory(path: string, { mode }: DirectoryNode, tar: Bytes): Promise<void> {
		const isNew = (await this.#find(path, { followSymlinks: true })) === undefined;
		await this.#files.upload(path, tar, this.#options);
		if (isNew && mode !== NEW_DIRECTORY_MODE) await this.#files.chmod(path, mode, this.#options);
	}

	async #find(
		path: string,
		{ followSymlinks }: { readonly followSymlinks: boolean },
	): Promise<FileInfo | undefined> {
		try {
			return await this.#files.stat(path, { ...this.#options, followSymlinks });
		} catch (error) {
			if (error instanceof ShaleApiError && error.code === "not_found") return undefined;
			throw error;
		}
	}
}

function toNode({ type, path, sizeBytes, mode, modifiedAt }: FileInfo): Node {
	const attributes = { mode, modifiedAt: new Date(modifiedAt) };
	if (type === "file") return { type, sizeBytes, ...attributes };
	if (type === "directory") return { type, ...attributes };
	throw new ShaleError("conflict", `${path} is neither a file nor a directory`);
}
