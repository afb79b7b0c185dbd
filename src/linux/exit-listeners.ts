/** Who wants to hear of which child's exit, and the exits that nobody has asked about yet. */
import type { JailerExit } from "./jailer.ts";

export type ExitListener = (exit: JailerExit) => void;

/** A child may be gone before its launcher hears that it runs. */
const MAX_UNCLAIMED = 1024;

export class ExitListeners {
	readonly #listeners = new Map<number, Set<ExitListener>>();
	readonly #unclaimed = new Map<number, JailerExit>();

	/** Calls `listener` once when the child has ended, also when it already has. Returns how to stop listening. */
	on(hostPid: number, listener: ExitListener): () => void {
		const exit = this.#unclaimed.get(hostPid);
		const listeners = this.#listeners.get(hostPid) ?? new Set();
		listeners.add(listener);
		this.#listeners.set(hostPid, listeners);
		if (exit !== undefined) queueMicrotask(() => this.tell(exit));
		return () => {
			listeners.delete(listener);
			if (listeners.size === 0 && this.#listeners.get(hostPid) === listeners) this.#listeners.delete(hostPid);
		};
	}

	tell(exit: JailerExit): void {
		const listeners = this.#listeners.get(exit.hostPid);
		if (listeners === undefined) {
			this.#keep(exit);
			return;
		}
		this.#listeners.delete(exit.hostPid);
		this.#unclaimed.delete(exit.hostPid);
		for (const listener of listeners) listener(exit);
	}

	/** There is a new child of this pid: an exit that is still kept was another's. */
	renew(hostPid: number): void {
		this.#unclaimed.delete(hostPid);
	}

	#keep(exit: JailerExit): void {
		this.#unclaimed.set(exit.hostPid, exit);
		const [oldest] = this.#unclaimed.keys();
		if (this.#unclaimed.size > MAX_UNCLAIMED && oldest !== undefined) this.#unclaimed.delete(oldest);
	}
}
