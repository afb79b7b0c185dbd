/** When a sandbox was last used, for its idle time. Costs nothing for a sandbox that has none. */
import { type Clock, type Moment, momentIn, msUntil } from "../linux/clock.ts";

/** What is written of activity is at most this old. */
export const ACTIVITY_SAVE_MS = 10_000;

/** After a restart of the daemon clients have this long to come back. */
const RESTART_GRACE_MS = 60_000;

export class Activity {
	readonly #clock: Clock;
	readonly #idleTimeoutMs: number | null;
	/** By the clock's uptime. */
	#lastMs: number;
	#savedMs: number;
	#holds = 0;

	/** @param last as it was stored, of a sandbox that an earlier daemon ran; otherwise it is used now. */
	constructor(clock: Clock, { idleTimeoutMs, last }: { idleTimeoutMs: number | null; last: Moment | null }) {
		this.#clock = clock;
		this.#idleTimeoutMs = idleTimeoutMs;
		const now = clock.uptimeMs();
		const grace = now - (idleTimeoutMs ?? 0) + RESTART_GRACE_MS;
		this.#lastMs = last ? Math.min(now, Math.max(now + msUntil(clock, last), grace)) : now;
		this.#savedMs = this.#lastMs;
	}

	/** It is used now. Returns whether this is worth writing down. */
	touch(): boolean {
		if (this.#idleTimeoutMs === null) return false;
		this.#lastMs = this.#clock.uptimeMs();
		return this.#lastMs - this.#savedMs >= ACTIVITY_SAVE_MS;
	}

	/** It is not idle until the returned function is called, once. */
	hold(): () => void {
		this.#holds++;
		return () => {
			this.#holds--;
		};
	}

	get isHeld(): boolean {
		return this.#holds > 0;
	}

	/** Ms until it has been idle for its idle time; undefined when it has none. */
	msLeft(): number | undefined {
		if (this.#idleTimeoutMs === null) return undefined;
		return this.isHeld ? this.#idleTimeoutMs : this.#lastMs + this.#idleTimeoutMs - this.#clock.uptimeMs();
	}

	/** For the store; undefined when what was taken last still holds. */
	takeUnsaved(): Moment | undefined {
		if (this.#lastMs === this.#savedMs) return undefined;
		this.#savedMs = this.#lastMs;
		return momentIn(this.#clock, this.#lastMs - this.#clock.uptimeMs());
	}
}
