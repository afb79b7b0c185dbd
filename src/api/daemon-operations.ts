/** What the API needs from the daemon, and nothing more: routes are tested with fakes of these. */
import type { Readable } from "node:stream";
import type { LayerManifest } from "../layers/manifest.ts";
import type { OnProgress } from "../layers/progress.ts";
import type { SandboxEvent } from "../sandbox/events.ts";
import type { GarbageReport } from "../sandbox/inventory.ts";
import type { Sandboxes } from "../sandbox/types.ts";

export interface Recipe {
	/** Of the layer that it makes. */
	readonly name: string;
	readonly kind: string;
	readonly description: string;
}

export interface LayerOperations {
	list(): Promise<readonly LayerManifest[]>;
	/** Throws `not_found`. */
	get(name: string): Promise<LayerManifest>;
	/**
	 * Takes in a squashfs image; nothing of it is visible before it is whole and checked. `image` fails when the
	 * client goes away in the middle. Throws `conflict` when the name is taken, `layer_damaged` when it is no image.
	 */
	import(name: string, image: Readable, options: { readonly signal: AbortSignal }): Promise<LayerManifest>;
	/** Throws `conflict` while a sandbox uses it. */
	remove(name: string): Promise<void>;
	recipes(): Promise<readonly Recipe[]>;
	/** Throws `cancelled` when `signal` aborts. `onProgress` must be cheap: it is called as often as there is news. */
	build(
		name: string,
		options: { readonly signal: AbortSignal; readonly onProgress: OnProgress },
	): Promise<LayerManifest>;
}

export interface DoctorCheck {
	readonly name: string;
	readonly ok: boolean;
	readonly detail: string;
	/** What to do about it, when it is not ok. */
	readonly fix?: string | undefined;
}

export interface DoctorReport {
	readonly checks: readonly DoctorCheck[];
	/** True when sandboxes can be made. */
	readonly ready: boolean;
}

export interface Version {
	readonly version: string;
	readonly node: string;
	readonly kernel: string;
}

export interface Daemon {
	readonly sandboxes: Sandboxes;
	readonly layers: LayerOperations;
	readonly version: Version;
	readonly events: {
		/** From now on, or after the event of this id. Ends by `return()`, also while `next()` waits. */
		subscribe(afterId?: string): AsyncIterableIterator<SandboxEvent, undefined>;
	};
	/** Removes what nobody owns, or lists it when `dryRun`. */
	collectGarbage(options: { readonly dryRun: boolean }): Promise<GarbageReport>;
	doctor(): Promise<DoctorReport>;
	/** Prometheus text exposition format 0.0.4. */
	metrics(): Promise<string>;
}
