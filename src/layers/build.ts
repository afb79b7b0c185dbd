/**
 * Building a layer from its recipe: one kind makes a tree in a work folder, the tree is evened out and compressed,
 * and the store publishes the image. The same inputs give the same digest.
 */
import { join } from "node:path";
import { ShaleError } from "../lib/errors.ts";
import { buildDebianBase, buildDebianPackages } from "./kinds/debian.ts";
import { buildFolder } from "./kinds/folder.ts";
import type { BuildContext, BuiltImage, BuiltTree } from "./kinds/kind.ts";
import { buildNpm } from "./kinds/npm.ts";
import { buildUrl } from "./kinds/url.ts";
import type { LayerManifest } from "./manifest.ts";
import { removeTree } from "./partials.ts";
import type { OnProgress } from "./progress.ts";
import type { Recipe } from "./recipe.ts";
import { throwIfCancelled } from "./run-program.ts";
import { makeSquashfs, unpackSquashfs } from "./squashfs.ts";
import type { LayerStore } from "./store.ts";
import { evenOutTree } from "./tree.ts";

export interface BuildOptions {
	readonly store: LayerStore;
	/** Ends all children of the build and removes what it wrote, then `cancelled` is thrown. */
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: OnProgress | undefined;
	/** Take the place of a layer of this name; without it that is a conflict. */
	readonly replace?: boolean | undefined;
}

/**
 * Makes the layer and returns its manifest. Throws `conflict` when it exists or is being made, `cancelled`,
 * `unsupported` when a program is missing on the host, `unavailable` when a download or an installation failed,
 * `layer_damaged` when what was fetched is not what the recipe's checksum says.
 */
export async function buildLayer(
	recipe: Recipe,
	{ store, signal, onProgress, replace }: BuildOptions,
): Promise<LayerManifest> {
	if (process.getuid?.() !== 0) {
		throw new ShaleError("unsupported", `building layer ${recipe.name} needs root`, {
			hint: "Files of a layer belong to several users. Run the daemon as root, or import a layer built elsewhere.",
		});
	}
	const release = store.reserve(recipe.name, { replace });
	try {
		const work = await store.createWorkFolder();
		try {
			return await buildIn(work, recipe, { store, signal, onProgress, replace });
		} finally {
			await removeTree(work);
		}
	} finally {
		release();
	}
}

async function buildIn(work: string, recipe: Recipe, options: BuildOptions): Promise<LayerManifest> {
	const { store, signal, onProgress = () => {}, replace } = options;
	const startedMs = Date.now();
	const unpackLayer = async (name: string, hostFolder: string) => {
		const manifest = await store.verify(name);
		onProgress({ step: "unpack", message: name });
		await unpackSquashfs(store.hostPath(name), hostFolder, { signal });
		return manifest;
	};
	const built = await buildByKind(recipe, { work, signal, onProgress, unpackLayer });
	const imagePath = built.kind === "image" ? built.imagePath : join(work, "image");
	if (built.kind === "tree") {
		onProgress({ step: "compress" });
		await evenOutTree(built.hostFolder, startedMs, signal);
		await makeSquashfs(built.hostFolder, imagePath, { whiteouts: built.whiteouts, signal });
	}
	onProgress({ step: "publish" });
	throwIfCancelled(signal, `building layer ${recipe.name}`);
	const recipeSource = { kind: "recipe", name: recipe.name, sha256: recipe.sha256 };
	const sources = [recipeSource, ...built.sources];
	return await store.publish(imagePath, {
		name: recipe.name,
		description: recipe.description,
		sources,
		replace,
	});
}

function buildByKind(recipe: Recipe, context: BuildContext): Promise<BuiltTree | BuiltImage> {
	switch (recipe.kind) {
		case "debian-base":
			return buildDebianBase(recipe, context);
		case "debian-packages":
			return buildDebianPackages(recipe, context);
		case "npm":
			return buildNpm(recipe, context);
		case "folder":
			return buildFolder(recipe, context);
		case "url":
			return buildUrl(recipe, context);
	}
}
