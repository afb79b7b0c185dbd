/** Layers as the API and the core see them: the store, the recipes, the builds, and what is held as in use. */
import type { Readable } from "node:stream";
import type { LayerOperations, Recipe } from "../api/daemon-operations.ts";
import { buildLayer } from "../layers/build.ts";
import type { LayerManifest } from "../layers/manifest.ts";
import type { LayerMounts } from "../layers/mounts.ts";
import type { OnProgress } from "../layers/progress.ts";
import { getRecipe, listRecipes } from "../layers/recipe.ts";
import { toStack } from "../layers/stack.ts";
import type { LayerStore } from "../layers/store.ts";
import { ShaleError } from "../lib/errors.ts";
import type { CoreLayers } from "../sandbox/core.ts";
import type { DiskGuard } from "./disk-guard.ts";

export interface LayerCatalogueParts {
	readonly store: LayerStore;
	readonly mounts: LayerMounts;
	/** Folders of recipe files; the first that has one wins. */
	readonly recipeFolders: readonly string[];
	/** What a sandbox gets when it names no layers; modules that are not in the store are left out. */
	readonly defaultLayers: readonly string[];
	readonly diskGuard: DiskGuard;
}

export class LayerCatalogue implements LayerOperations, CoreLayers {
	readonly #parts: LayerCatalogueParts;
	#building = 0;

	constructor(parts: LayerCatalogueParts) {
		this.#parts = parts;
	}

	get isBuilding(): boolean {
		return this.#building > 0;
	}

	toStack(names: readonly string[]): readonly string[] {
		const stack = toStack(names);
		const missing = stack.find((name) => !this.#parts.store.has(name));
		if (missing === undefined) return stack;
		throw new ShaleError("not_found", `layers: there is no layer ${missing}`, {
			hint: `\`shale layers ls\` lists them; \`shale layers build ${missing}\` makes it when there is a recipe.`,
			details: { layer: missing },
		});
	}

	defaultStack(): readonly string[] {
		const { defaultLayers, store } = this.#parts;
		return defaultLayers.filter((name) => name.startsWith("000-") || store.has(name));
	}

	list(): Promise<readonly LayerManifest[]> {
		return this.#parts.store.list();
	}

	get(name: string): Promise<LayerManifest> {
		return this.#parts.store.get(name);
	}

	import(
		name: string,
		image: Readable,
		{ signal }: { readonly signal: AbortSignal },
	): Promise<LayerManifest> {
		const { store, diskGuard } = this.#parts;
		return diskGuard.during(signal, (signal) => store.import(image, { name, signal }));
	}

	remove(name: string): Promise<void> {
		return this.#parts.store.remove(name, { inUse: (layer) => this.#parts.mounts.isUsed(layer) });
	}

	async recipes(): Promise<readonly Recipe[]> {
		const { recipeFolders } = this.#parts;
		const names = await listRecipes(recipeFolders);
		const recipes = await Promise.all(names.map((name) => getRecipe(name, recipeFolders)));
		return recipes.map(({ name, kind, description = "" }) => ({ name, kind, description }));
	}

	async build(
		name: string,
		{ signal, onProgress }: { readonly signal: AbortSignal; readonly onProgress: OnProgress },
	): Promise<LayerManifest> {
		const { store, diskGuard, recipeFolders } = this.#parts;
		const recipe = await getRecipe(name, recipeFolders);
		this.#building++;
		try {
			return await diskGuard.during(signal, (signal) => buildLayer(recipe, { store, signal, onProgress }));
		} finally {
			this.#building--;
		}
	}
}
