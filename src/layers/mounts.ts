/**
 * Layers mounted read-only in the jailer's mount namespace, each once, shared by all sandboxes that use it, and
 * counted. The mounts die with the jailer.
 */
import { type Op, op } from "../linux/plan.ts";
import type { LayerManifest } from "./manifest.ts";
import type { LayerStore } from "./store.ts";

export interface Lease {
	/** What a plan calls the mounted layers, in the order in which they were asked for. */
	readonly mountIds: readonly string[];
	/** Gives them back. May be called again. */
	release(): void;
}

export interface LayerMountsOptions {
	readonly store: Pick<LayerStore, "verify" | "hostPath">;
	/** How long a layer stays mounted without users. Default 60,000. */
	readonly lingerMs?: number;
	/** Told when an unmount fails, which does no harm: the mount is found again when the layer is next needed. */
	readonly onUnmountError?: (error: unknown) => void;
}

interface SharedMount {
	readonly id: string;
	readonly name: string;
	readonly ready: Promise<unknown>;
	users: number;
	timer: NodeJS.Timeout | undefined;
}

const LINGER_MS = 60_000;

export class LayerMounts {
	readonly #run: (ops: Op[]) => Promise<unknown>;
	readonly #options: LayerMountsOptions;
	readonly #mounts = new Map<string, SharedMount>();
	/** Leases by layer; they outlast a jailer, as sandboxes do. */
	readonly #uses = new Map<string, number>();

	/** `run` has the jailer execute operations; those of a later call must not overtake those of an earlier one. */
	constructor(run: (ops: Op[]) => Promise<unknown>, options: LayerMountsOptions) {
		this.#run = run;
		this.#options = options;
	}

	/**
	 * Mounts these layers, or shares their mounts, until the lease is released. Each is verified first. Throws
	 * `not_found` or `layer_damaged`, or what `run` throws; nothing is held then.
	 */
	async acquire(names: readonly string[]): Promise<Lease> {
		const { store } = this.#options;
		const manifests = await Promise.all(names.map((name) => store.verify(name)));
		const mounts = manifests.map((manifest) => this.#take(manifest));
		const lease = this.#toLease(names, mounts);
		try {
			await Promise.all(mounts.map(({ ready }) => ready));
			return lease;
		} catch (error) {
			lease.release();
			throw error;
		}
	}

	/** Notes that these layers are in use, by a sandbox that has them already. */
	hold(names: readonly string[]): Lease {
		return this.#toLease(names, []);
	}

	/** Whether a lease on this layer is held. */
	isUsed(name: string): boolean {
		return this.#uses.has(name);
	}

	/** Whether it is mounted here, be it without users. */
	isMounted(name: string): boolean {
		return [...this.#mounts.values()].some((mount) => mount.name === name);
	}

	/** The jailer has died and its mounts with it: the next users mount them again. Leases stay as they are. */
	forgetAll(): void {
		for (const mount of this.#mounts.values()) clearTimeout(mount.timer);
		this.#mounts.clear();
	}

	/** Unmounts all layers. Sandboxes that still run are not disturbed: they have clones of the mounts. */
	async close(): Promise<void> {
		await Promise.all([...this.#mounts.values()].map((mount) => this.#unmount(mount)));
	}

	#toLease(names: readonly string[], mounts: readonly SharedMount[]): Lease {
		let isHeld = true;
		for (const name of names) this.#uses.set(name, (this.#uses.get(name) ?? 0) + 1);
		return {
			mountIds: mounts.map(({ id }) => id),
			release: () => {
				if (!isHeld) return;
				isHeld = false;
				for (const name of names) this.#endUse(name);
				for (const mount of mounts) this.#giveBack(mount);
			},
		};
	}

	#endUse(name: string): void {
		const uses = (this.#uses.get(name) ?? 0) - 1;
		if (uses > 0) this.#uses.set(name, uses);
		else this.#uses.delete(name);
	}

	#take(manifest: LayerManifest): SharedMount {
		const id = toMountId(manifest);
		const mount = this.#mounts.get(id) ?? this.#mount(id, manifest.name);
		clearTimeout(mount.timer);
		mount.users++;
		return mount;
	}

	#mount(id: string, name: string): SharedMount {
		const ready = this.#run([op.layerMount(id, this.#options.store.hostPath(name))]);
		const mount: SharedMount = { id, name, ready, users: 0, timer: undefined };
		this.#mounts.set(id, mount);
		ready.catch(() => this.#forget(mount));
		return mount;
	}

	#giveBack(mount: SharedMount): void {
		mount.users--;
		if (mount.users > 0 || this.#mounts.get(mount.id) !== mount) return;
		const { lingerMs = LINGER_MS } = this.#options;
		mount.timer = setTimeout(() => void this.#unmount(mount), lingerMs).unref();
	}

	async #unmount(mount: SharedMount): Promise<void> {
		clearTimeout(mount.timer);
		this.#forget(mount);
		try {
			await this.#run([op.layerUnmount(mount.id)]);
		} catch (error) {
			this.#options.onUnmountError?.(error);
		}
	}

	#forget(mount: SharedMount): void {
		if (this.#mounts.get(mount.id) === mount) this.#mounts.delete(mount.id);
	}
}

/** A layer that is replaced gets another id, so that sandboxes of before and after share nothing. */
function toMountId({ name, digest }: LayerManifest): string {
	return `${name}.${digest.slice("sha256:".length, "sha256:".length + 32)}`;
}
