/** Ranges of host user ids, by number: a sandbox has one as long as it is not destroyed. */
import { ShaleError } from "../lib/errors.ts";

/** Hands out the lowest free number below `count`; two sandboxes never share one. */
export class Slots {
	readonly #taken = new Set<number>();
	readonly #count: number;

	constructor(count: number) {
		this.#count = count;
	}

	take(): number {
		for (let slot = 0; slot < this.#count; slot++) {
			if (this.#taken.has(slot)) continue;
			this.#taken.add(slot);
			return slot;
		}
		throw new ShaleError("resource_exhausted", `all ${this.#count} ranges of user ids are in use`, {
			hint: "Destroy sandboxes that are not needed.",
		});
	}

	/** For a sandbox that has it since before a restart. */
	reserve(slot: number): void {
		this.#taken.add(slot);
	}

	giveBack(slot: number): void {
		this.#taken.delete(slot);
	}
}
