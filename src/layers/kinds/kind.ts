/** What every kind of recipe does: makes a tree in a work folder, and says what it was made from. */
import type { LayerManifest, LayerSource } from "../manifest.ts";
import type { OnProgress } from "../progress.ts";

export interface BuildContext {
	/** An empty folder of this build alone; it is removed afterwards. */
	readonly work: string;
	readonly signal: AbortSignal | undefined;
	readonly onProgress: OnProgress;
	/** Unpacks a layer of the store into a folder that must not exist. Throws `not_found`, `layer_damaged`. */
	readonly unpackLayer: (name: string, hostFolder: string) => Promise<LayerManifest>;
}

export interface BuiltTree {
	readonly kind: "tree";
	readonly hostFolder: string;
	readonly sources: readonly LayerSource[];
	/** Paths in the tree, without a leading slash, that shall be hidden in the layers below. */
	readonly whiteouts: readonly string[];
}

export interface BuiltImage {
	readonly kind: "image";
	readonly imagePath: string;
	readonly sources: readonly LayerSource[];
}
