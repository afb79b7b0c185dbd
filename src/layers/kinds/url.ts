/** Recipes of kind `url`: one file from a URL, checked against the recipe's SHA-256 before anything reads it. */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { errnoCode, ShaleError } from "../../lib/errors.ts";
import { GIB } from "../../lib/units.ts";
import type { UrlRecipe } from "../recipe.ts";
import { runProgram, throwIfCancelled } from "../run-program.ts";
import { makeFolders } from "../tree.ts";
import type { BuildContext, BuiltImage, BuiltTree } from "./kind.ts";

/** A server that never ends its answer shall not fill the disk. */
const MAX_DOWNLOAD_BYTES = 16 * GIB;

/** A server that says nothing for this long is taken for dead. */
const SILENCE_MS = 60_000;

export async function buildUrl(recipe: UrlRecipe, context: BuildContext): Promise<BuiltTree | BuiltImage> {
	const { work, signal, onProgress } = context;
	const file = join(work, "download");
	const found = await download(recipe, file, context);
	if (found !== recipe.sha256) throw wrongChecksum(recipe, found);
	const sources = [{ kind: "url", url: toShownUrl(recipe.url), sha256: recipe.sha256 }];
	if (recipe.format === "squashfs") return { kind: "image", imagePath: file, sources };
	onProgress({ step: "unpack" });
	const tree = join(work, "tree");
	const target = await makeFolders(tree, recipe.to);
	const args = ["--extract", "--file", file, "--directory", target, `--strip-components=${recipe.strip}`];
	await runProgram("tar", [...args, "--numeric-owner", "--same-owner", "--same-permissions"], { signal });
	return { kind: "tree", hostFolder: tree, sources, whiteouts: [] };
}

/** Writes what the URL gives to `file` and returns its SHA-256 in hex. */
async function download(
	{ url }: UrlRecipe,
	file: string,
	{ signal, onProgress }: BuildContext,
): Promise<string> {
	const shown = toShownUrl(url);
	onProgress({ step: "download", message: shown });
	const silence = new AbortController();
	const signals = AbortSignal.any([silence.signal, ...(signal ? [signal] : [])]);
	const timer = setTimeout(() => silence.abort(), SILENCE_MS);
	const hash = createHash("sha256");
	let bytes = 0;
	try {
		const { readable, totalBytes } = await open(url, signals);
		const watch = async function* (chunks: AsyncIterable<Buffer>) {
			for await (const chunk of chunks) {
				timer.refresh();
				bytes += chunk.length;
				if (bytes > MAX_DOWNLOAD_BYTES)
					throw new ShaleError("too_large", `${shown} has over ${MAX_DOWNLOAD_BYTES} bytes`);
				hash.update(chunk);
				const percent = totalBytes ? Math.min(100, Math.floor((bytes / totalBytes) * 100)) : undefined;
				onProgress({ step: "download", message: shown, ...(percent === undefined ? {} : { percent }) });
				yield chunk;
			}
		};
		await pipeline(readable, watch, createWriteStream(file, { flags: "wx" }), { signal: signals });
		return hash.digest("hex");
	} catch (error) {
		throwIfCancelled(signal, `the download of ${shown}`);
		throw toDownloadError(error, shown);
	} finally {
		clearTimeout(timer);
	}
}

async function open(url: string, signal: AbortSignal): Promise<{ readable: Readable; totalBytes: number }> {
	if (url.startsWith("file:")) return { readable: createReadStream(fileURLToPath(url)), totalBytes: 0 };
	const response = await fetch(url, { signal });
	if (!response.ok || !response.body) {
		await response.body?.cancel();
		throw new ShaleError("unavailable", `${toShownUrl(url)} answered ${response.status}`);
	}
	return {
		readable: Readable.fromWeb(response.body),
		totalBytes: Number(response.headers.get("content-length") ?? 0),
	};
}

function toDownloadError(error: unknown, shown: string): ShaleError {
	if (error instanceof ShaleError) return error;
	if (errnoCode(error) === "ENOSPC") {
		return new ShaleError("resource_exhausted", `no room on the disk for ${shown}`, { cause: error });
	}
	const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
	const reason = cause instanceof Error ? cause.message : String(cause);
	return new ShaleError("unavailable", `${shown} could not be read: ${reason}`, { cause: error });
}

/** Without a login and without a query, which may hold a signature. */
function toShownUrl(url: string): string {
	const { protocol, host, pathname } = new URL(url);
	return `${protocol}//${host}${pathname}`;
}

function wrongChecksum({ url, sha256 }: UrlRecipe, found: string): ShaleError {
	const shown = toShownUrl(url);
	return new ShaleError("layer_damaged", `${shown} is not what the recipe expects: its SHA-256 is ${found}`, {
		hint: "Either the recipe is wrong, or the server gives something else now; do not use it before you know which.",
		details: { url: shown, expected: sha256, found },
	});
}
