/**
 * What there is on the host against what should be: a leak is what nobody owns, twice in a row. Things that are being
 * made belong to their creation, and the kernel may take a moment to free what was destroyed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { HostResource } from "../backends/backend.ts";
import type { Log } from "../lib/log.ts";
import type { EventLog } from "./events.ts";

export const RESOURCE_KINDS = [
	"process",
	"cgroup",
	"mount",
	"loop",
	"netns",
	"socket",
	"file",
	"record",
] as const satisfies readonly (HostResource["kind"] | "record")[];

export interface Resource {
	/** `record`: a row of the database without a sandbox. */
	readonly kind: (typeof RESOURCE_KINDS)[number];
	/** As a person finds it: a path, a device, a pid with its command. */
	readonly name: string;
	/** The sandbox it was made for; null when that cannot be told. */
	readonly sandboxId: string | null;
}

/** Something that things on the host come from: a backend, the layer store, the database. */
export interface ResourceSource {
	list(): Promise<readonly Resource[]>;
	/** Removes what no sandbox that `known` has owns. Asked anew for each thing, just before it is removed. */
	remove(known: ReadonlySet<string>): Promise<void>;
}

export interface GarbageReport {
	/** False: nothing was removed. */
	readonly dryRun: boolean;
	/** What was removed, or would be. */
	readonly removed: readonly Resource[];
	/** What could not be removed; the log says why. */
	readonly left: readonly Resource[];
}

export interface InventoryOptions {
	readonly sources: readonly ResourceSource[];
	/** Every sandbox that is not destroyed, those that are being created and destroyed among them. */
	readonly sandboxes: { has(id: string): boolean; keys(): Iterable<string> };
	readonly events: Pick<EventLog, "emit">;
	readonly log: Log;
	/** For tests: between the two looks. Default 300. */
	readonly settleMs?: number;
	/** For tests: how long {@link Inventory.countLeaks} believes the last look. Default 10,000. */
	readonly cacheMs?: number;
}

/** The kernel frees namespaces and loop devices in the background, in tens of ms. */
const SETTLE_MS = 300;
const CACHE_MS = 10_000;

export class Inventory {
	readonly #options: InventoryOptions;
	/** Leaks that were told as events, by kind and name. */
	#told = new Set<string>();
	#counts: Promise<ReadonlyMap<string, number>> | undefined;
	#collecting: Promise<GarbageReport> | undefined;

	constructor(options: InventoryOptions) {
		this.#options = options;
	}

	/** What nobody owns. A new one is told as an event `host.leak`. */
	async findLeaks(): Promise<readonly Resource[]> {
		const first = await this.#findUnowned();
		if (first.length === 0) return this.#tell([]);
		await sleep(this.#options.settleMs ?? SETTLE_MS);
		const again = new Set((await this.#findUnowned()).map(toKey));
		return this.#tell(first.filter((resource) => again.has(toKey(resource))));
	}

	/** How many leaks there are of each kind; looked for at most every ten seconds. */
	countLeaks(): Promise<ReadonlyMap<string, number>> {
		if (this.#counts) return this.#counts;
		const counts = this.findLeaks().then(countByKind);
		this.#counts = counts;
		const forget = () => {
			if (this.#counts === counts) this.#counts = undefined;
		};
		const { cacheMs = CACHE_MS } = this.#options;
		counts.then(() => setTimeout(forget, cacheMs).unref(), forget);
		return counts;
	}

	/** Removes the leaks, and lists them. Calls at the same time share one collection. */
	async collect({ dryRun }: { readonly dryRun: boolean }): Promise<GarbageReport> {
		if (dryRun) return { dryRun, removed: await this.findLeaks(), left: [] };
		this.#collecting ??= this.#collect().finally(() => {
			this.#collecting = undefined;
			this.#counts = undefined;
		});
		return await this.#collecting;
	}

	async #collect(): Promise<GarbageReport> {
		const { log, sources } = this.#options;
		const leaks = await this.findLeaks();
		if (leaks.length === 0) return { dryRun: false, removed: [], left: [] };
		const known = this.#ownersBut(leaks);
		for (const source of sources) {
			await source.remove(known).catch((error: unknown) => {
				log.error({ err: error }, "removing what nobody owns failed");
			});
		}
		const still = new Set((await this.findLeaks()).map(toKey));
		const removed = leaks.filter((leak) => !still.has(toKey(leak)));
		const left = leaks.filter((leak) => still.has(toKey(leak)));
		log.warn({ removed, left }, "removed what nobody owned");
		return { dryRun: false, removed, left };
	}

	async #findUnowned(): Promise<Resource[]> {
		const { sources, sandboxes } = this.#options;
		// Owners of before, as one may be destroyed while we look, and of after, as one may be created.
		const before = new Set(sandboxes.keys());
		const lists = await Promise.all(sources.map((source) => source.list()));
		const isOwned = (id: string | null) => id !== null && (before.has(id) || sandboxes.has(id));
		return lists.flat().filter(({ sandboxId }) => !isOwned(sandboxId));
	}

	#tell(leaks: readonly Resource[]): readonly Resource[] {
		for (const { kind, name, sandboxId } of leaks.filter((leak) => !this.#told.has(toKey(leak)))) {
			this.#options.log.warn({ kind, name, sandbox: sandboxId }, "there is something that nobody owns");
			this.#options.events.emit("host.leak", {
				...(sandboxId !== null && { sandboxId }),
				resource: { kind, name },
			});
		}
		this.#told = new Set(leaks.map(toKey));
		return leaks;
	}

	/** All ids but those of the leaks: whatever begins while the leaks are removed is not touched. */
	#ownersBut(leaks: readonly Resource[]): ReadonlySet<string> {
		const leaked = new Set(leaks.map(({ sandboxId }) => sandboxId));
		return new Owners((id) => !leaked.has(id) || this.#options.sandboxes.has(id), this.#options.sandboxes);
	}
}

/** A set that answers by what is so now. Listing it gives the sandboxes that there are. */
class Owners extends Set<string> {
	readonly #isOwner: (id: string) => boolean;

	constructor(isOwner: (id: string) => boolean, sandboxes: { keys(): Iterable<string> }) {
		super(sandboxes.keys());
		this.#isOwner = isOwner;
	}

	override has(id: string): boolean {
		return this.#isOwner(id);
	}
}

function toKey({ kind, name }: Resource): string {
	return `${kind} ${name}`;
}

/** Every kind, also with 0. */
function countByKind(resources: readonly Resource[]): ReadonlyMap<string, number> {
	const counts = new Map<string, number>(RESOURCE_KINDS.map((kind) => [kind, 0]));
	for (const { kind } of resources) counts.set(kind, (counts.get(kind) ?? 0) + 1);
	return counts;
}
