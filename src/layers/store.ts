/**
 * The layer store: a folder of `NNN-name.squashfs` images, each with a manifest `NNN-name.json`. A layer exists
 * when its manifest does, and the manifest is written last, so nothing half-made is ever visible.
 */
import { createHash } from "node:crypto";
import { type BigIntStats, createReadStream, createWriteStream, existsSync, statSync } from "node:fs";
import { chmod, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { syncFolder, writeFileAtomic } from "../lib/atomic-file.ts";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import { formatManifest, type LayerManifest, type LayerSource, parseManifest } from "./manifest.ts";
import { createPartial, listStalePartials, removeStalePartials, removeTree } from "./partials.ts";
import type { OnProgress } from "./progress.ts";
import { checkSquashfs } from "./squashfs.ts";
import { LAYER_NAME_PATTERN, parseLayerName } from "./stack.ts";

export interface PublishOptions {
	readonly name: string;
	readonly description?: string | undefined;
	readonly sources: readonly LayerSource[];
	/** Take the place of a layer of this name; without it that is a conflict. */
	readonly replace?: boolean | undefined;
}

export interface ImportOptions extends Omit<PublishOptions, "sources"> {
	readonly sources?: readonly LayerSource[] | undefined;
	/** Images above this are refused with `too_large`. */
	readonly maxBytes?: number | undefined;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: OnProgress | undefined;
}

/** A digest that was computed, and the file it was computed of: any write changes mtime or ctime. */
interface KnownDigest {
	readonly file: string;
	readonly digest: Promise<string>;
}

/**
 * Opens the store, making the folder when it is missing, and removes what dead processes left half-made; what of
 * that cannot be removed goes to `onCleanupError`, and is as invisible as before.
 */
export async function openLayerStore(
	hostFolder: string,
	{ onCleanupError = () => {} }: { readonly onCleanupError?: (error: unknown) => void } = {},
): Promise<LayerStore> {
	await mkdir(hostFolder, { recursive: true });
	const store = new LayerStore(hostFolder);
	await store.removeStalePartials(onCleanupError);
	return store;
}

export class LayerStore {
	readonly hostFolder: string;
	readonly #manifests = new Map<string, { readonly file: string; readonly manifest: LayerManifest }>();
	readonly #digests = new Map<string, KnownDigest>();
	readonly #reserved = new Set<string>();

	constructor(hostFolder: string) {
		this.hostFolder = hostFolder;
	}

	/** Where the image is or would be. Throws `invalid_argument` for a name that is none. */
	hostPath(name: string): string {
		return join(this.hostFolder, `${parseLayerName(name)}.squashfs`);
	}

	#manifestPath(name: string): string {
		return join(this.hostFolder, `${parseLayerName(name)}.json`);
	}

	/** Whether the layer is visible, at the price of one stat(2). */
	has(name: string): boolean {
		return existsSync(this.#manifestPath(name));
	}

	/** The layer's manifest, or undefined. Throws `layer_damaged` when the manifest cannot be read. */
	async find(name: string): Promise<LayerManifest | undefined> {
		const file = findFileKey(this.#manifestPath(name));
		if (file === undefined) return undefined;
		const cached = this.#manifests.get(name);
		if (cached?.file === file) return cached.manifest;
		const manifest = parseManifest(await readFile(this.#manifestPath(name), "utf8"), name);
		this.#manifests.set(name, { file, manifest });
		return manifest;
	}

	/** As {@link find}; throws `not_found` when there is none. */
	async get(name: string): Promise<LayerManifest> {
		return (await this.find(name)) ?? Promise.reject(unknownLayer(name));
	}

	/** All layers whose manifest can be read, by name. Images are not read: see {@link verify}. */
	async list(): Promise<LayerManifest[]> {
		return (await this.#findAll()).filter((found): found is LayerManifest => !(found instanceof ShaleError));
	}

	/** The errors of the layers that {@link list} leaves out. */
	async listDamaged(): Promise<ShaleError[]> {
		return (await this.#findAll()).filter((found): found is ShaleError => found instanceof ShaleError);
	}

	async #findAll(): Promise<(LayerManifest | ShaleError)[]> {
		const names = (await readdir(this.hostFolder))
			.filter((file) => file.endsWith(".json"))
			.map((file) => basename(file, ".json"))
			.filter((name) => LAYER_NAME_PATTERN.test(name))
			.sort();
		const found = await Promise.all(
			names.map((name) =>
				this.find(name).catch((error: unknown) => {
					if (error instanceof ShaleError) return error;
					throw error;
				}),
			),
		);
		return found.filter((item) => item !== undefined);
	}

	/**
	 * Checks the image against its manifest and returns the manifest. Throws `not_found` or `layer_damaged`. The
	 * image is read once; while the file stays untouched, the answer costs two stat(2).
	 */
	async verify(name: string): Promise<LayerManifest> {
		const manifest = await this.get(name);
		const hostPath = this.hostPath(name);
		const stats = statSync(hostPath, { bigint: true, throwIfNoEntry: false });
		if (!stats) throw damaged(manifest, "its image is missing", "");
		if (Number(stats.size) !== manifest.sizeBytes) {
			throw damaged(
				manifest,
				`its image has ${stats.size} bytes, not ${manifest.sizeBytes}`,
				String(stats.size),
			);
		}
		const digest = await this.#digestOf(name, hostPath, toFileKey(stats));
		if (digest === manifest.digest) return manifest;
		throw damaged(manifest, `its image has the digest ${digest}, not ${manifest.digest}`, digest);
	}

	#digestOf(name: string, hostPath: string, file: string): Promise<string> {
		const known = this.#digests.get(name);
		if (known?.file === file) return known.digest;
		const digest = readDigest(hostPath);
		this.#digests.set(name, { file, digest });
		digest.catch(() => this.#digests.delete(name));
		return digest;
	}

	/**
	 * Keeps `name` to the caller while it makes that layer; call what is returned to give it back. Throws `conflict`
	 * when somebody else is making it, or when it exists and shall not be replaced.
	 */
	reserve(name: string, { replace = false }: { readonly replace?: boolean | undefined } = {}): () => void {
		parseLayerName(name);
		if (this.#reserved.has(name)) throw new ShaleError("conflict", `layer ${name} is being made already`);
		if (!replace && this.has(name)) throw layerExists(name);
		this.#reserved.add(name);
		return () => this.#reserved.delete(name);
	}

	/** An empty folder on the store's file system to make an image in; the caller removes it with removeTree. */
	createWorkFolder(): Promise<string> {
		return createPartial(this.hostFolder);
	}

	/** Host paths of what dead processes left half-made. */
	listStalePartials(): Promise<string[]> {
		return listStalePartials(this.hostFolder);
	}

	/** What cannot be removed stays for the next time. */
	removeStalePartials(onError: (error: unknown) => void = () => undefined): Promise<void> {
		return removeStalePartials(this.hostFolder, onError);
	}

	/** Copies an image, given as a stream or a file, into the store. */
	async import(
		source: Readable | string,
		{ sources = [{ kind: "import" }], maxBytes, signal, onProgress, ...options }: ImportOptions,
	): Promise<LayerManifest> {
		const release = this.reserve(options.name, options);
		try {
			const work = await this.createWorkFolder();
			try {
				const imagePath = join(work, "image");
				const totalBytes = typeof source === "string" ? (await statSource(source)).size : undefined;
				const readable = typeof source === "string" ? createReadStream(source) : source;
				await copyImage(readable, imagePath, {
					name: options.name,
					totalBytes,
					maxBytes,
					signal,
					onProgress,
				});
				return await this.publish(imagePath, { ...options, sources });
			} finally {
				await removeTree(work);
			}
		} finally {
			release();
		}
	}

	/**
	 * Makes the image at `imagePath`, in a work folder of this store, visible under its name: checks it, moves it,
	 * and writes the manifest last. The caller holds the reservation.
	 */
	async publish(
		imagePath: string,
		{ name, description, sources, replace }: PublishOptions,
	): Promise<LayerManifest> {
		await checkSquashfs(imagePath);
		await chmod(imagePath, 0o644);
		const digest = await syncAndDigest(imagePath);
		const manifest: LayerManifest = {
			name,
			digest,
			sizeBytes: (await stat(imagePath)).size,
			createdAt: new Date().toISOString(),
			...(description === undefined ? {} : { description }),
			sources: [...sources],
		};
		if (this.has(name)) {
			if (!replace) throw layerExists(name);
			// Invisible for a moment rather than a new image under an old manifest, which would be damaged.
			await rm(this.#manifestPath(name));
			await syncFolder(this.hostFolder);
		}
		await rename(imagePath, this.hostPath(name));
		await syncFolder(this.hostFolder);
		const file = findFileKey(this.hostPath(name));
		if (file !== undefined) this.#digests.set(name, { file, digest: Promise.resolve(digest) });
		await writeFileAtomic(this.#manifestPath(name), formatManifest(manifest));
		return manifest;
	}

	/**
	 * Removes a layer. Throws `not_found`, or `conflict` when `inUse` says that a sandbox uses it. Damaged layers can
	 * be removed.
	 */
	async remove(name: string, { inUse }: { readonly inUse: (name: string) => boolean }): Promise<void> {
		const release = this.reserve(name, { replace: true });
		try {
			if (!this.has(name)) throw unknownLayer(name);
			if (inUse(name)) {
				throw new ShaleError("conflict", `layer ${name} is used by a running sandbox`, {
					hint: "Destroy the sandboxes that use it first; `shale inspect` shows a sandbox's layers.",
					details: { layer: name },
				});
			}
			await rm(this.#manifestPath(name));
			await syncFolder(this.hostFolder);
			await rm(this.hostPath(name), { force: true });
			this.#manifests.delete(name);
			this.#digests.delete(name);
		} finally {
			release();
		}
	}
}

interface CopyOptions {
	readonly name: string;
	readonly totalBytes: number | undefined;
	readonly maxBytes: number | undefined;
	readonly signal: AbortSignal | undefined;
	readonly onProgress: OnProgress | undefined;
}

async function copyImage(source: Readable, imagePath: string, options: CopyOptions): Promise<void> {
	const { name, totalBytes, maxBytes = Number.POSITIVE_INFINITY, signal, onProgress } = options;
	let bytes = 0;
	const watch = async function* (chunks: AsyncIterable<Buffer>) {
		for await (const chunk of chunks) {
			bytes += chunk.length;
			if (bytes > maxBytes)
				throw new ShaleError("too_large", `layer ${name} has more than ${maxBytes} bytes`);
			onProgress?.({
				step: "copy",
				...(totalBytes ? { percent: Math.floor((bytes / totalBytes) * 100) } : {}),
			});
			yield chunk;
		}
	};
	try {
		await pipeline(
			source,
			watch,
			createWriteStream(imagePath, { flags: "wx" }),
			...(signal ? [{ signal }] : []),
		);
	} catch (error) {
		if (signal?.aborted) throw new ShaleError("cancelled", `the import of layer ${name} was cancelled`);
		if (errnoCode(error) !== "ENOSPC") throw error;
		throw new ShaleError("resource_exhausted", `no room on the disk for layer ${name}`, { cause: error });
	}
}

async function statSource(hostPath: string) {
	try {
		return await stat(hostPath);
	} catch (error) {
		if (errnoCode(error) !== "ENOENT") throw error;
		throw new ShaleError("not_found", `there is no file ${hostPath} to import`, { cause: error });
	}
}

async function syncAndDigest(hostPath: string): Promise<string> {
	const file = await open(hostPath, "r");
	try {
		await file.sync();
	} finally {
		await file.close();
	}
	return await readDigest(hostPath);
}

async function readDigest(hostPath: string): Promise<string> {
	const hash = createHash("sha256");
	await pipeline(createReadStream(hostPath, { highWaterMark: 1 << 20 }), hash);
	return `sha256:${hash.digest("hex")}`;
}

/** Equal as long as it is the same file with the same content. */
function toFileKey({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
	return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}

function findFileKey(hostPath: string): string | undefined {
	// Synchronous: creating a sandbox asks for each of its layers, and the thread pool costs ten times the call.
	const stats = statSync(hostPath, { bigint: true, throwIfNoEntry: false });
	return stats && toFileKey(stats);
}

function damaged({ name, digest, sizeBytes }: LayerManifest, reason: string, found: string): ShaleError {
	return new ShaleError("layer_damaged", `layer ${name} is damaged: ${reason}`, {
		hint: `Build or import ${name} again with replace, or remove it.`,
		details: { layer: name, expected: { digest, sizeBytes }, found },
	});
}

function unknownLayer(name: string): ShaleError {
	return new ShaleError("not_found", `layer ${name} does not exist`, {
		hint: `\`shale layers ls\` shows the layers there are; \`shale layers build ${name}\` makes one from its recipe.`,
		details: { layer: name },
	});
}

function layerExists(name: string): ShaleError {
	return new ShaleError("conflict", `layer ${name} exists already`, {
		hint: "Remove it first, or ask for it to be replaced.",
		details: { layer: name },
	});
}
