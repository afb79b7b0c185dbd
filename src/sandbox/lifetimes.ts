/**
 * The ends of lifetimes and idle times. Whether a sandbox has come to its end is decided, and its ending begun, in one
 * go: an extension comes either before, and counts, or after, and is refused.
 */
import type { Log } from "../lib/log.ts";
import { type Clock, msUntil } from "../linux/clock.ts";
import type { Living } from "./core.ts";

/** Timers stand still while the host is suspended, the clock does not. */
const MAX_SLEEP_MS = 60_000;

/** Not finer than the clock, which counts in hundredths of a second. */
const MIN_SLEEP_MS = 10;

/** After an ending that failed. */
const RETRY_MS = 10_000;

export interface LifetimesOptions {
	readonly clock: Clock;
	readonly living: ReadonlyMap<string, Living>;
	/** Begins to end it before it returns, or goes on with an ending that failed. */
	readonly end: (living: Living, reason: string) => Promise<unknown>;
	/** Called for one that is held active, when that should be written down. */
	readonly onActive: (living: Living) => void;
	readonly log: Log;
}

interface End {
	readonly inMs: number;
	readonly reason: string;
}

/** One timer, for whichever sandbox's end is next. */
export class Lifetimes {
	readonly #options: LifetimesOptions;
	/** Those whose ending failed, with its reason. */
	readonly #overdue = new Map<Living, string>();
	#timer: NodeJS.Timeout | undefined;
	/** By the clock's uptime. */
	#wakesMs = Number.POSITIVE_INFINITY;
	#isClosed = false;

	constructor(options: LifetimesOptions) {
		this.#options = options;
	}

	/** To be called when a sandbox runs, and when its end was set anew. */
	follow(living: Living): void {
		const end = this.#findEnd(living);
		if (end) this.#wakeIn(end.inMs);
	}

	/** Begins to end all that have come to their end, and waits for the next one. */
	sweep(): void {
		for (const [living, reason] of this.#overdue) this.#tryAgain(living, reason);
		for (const living of this.#options.living.values()) {
			if (living.activity.isHeld && living.activity.touch()) this.#options.onActive(living);
			const end = this.#findEnd(living);
			if (!end) continue;
			// While a step is about to end an ending could not begin at once.
			if (end.inMs <= 0 && !living.step) this.#end(living, end.reason);
			else this.#wakeIn(end.inMs);
		}
	}

	close(): void {
		this.#isClosed = true;
		clearTimeout(this.#timer);
	}

	#end(living: Living, reason: string): void {
		const { end, log } = this.#options;
		end(living, reason).catch((error: unknown) => {
			log.error({ err: error, sandbox: living.sandbox.id }, "ending a sandbox at the end of its time failed");
			this.#overdue.set(living, reason);
			this.#wakeIn(RETRY_MS);
		});
	}

	/** Unless somebody has taken care of it since. */
	#tryAgain(living: Living, reason: string): void {
		this.#overdue.delete(living);
		const { id, state } = living.sandbox;
		const isHalfEnded = state === "destroying" || state === "stopping";
		if (isHalfEnded && this.#options.living.get(id) === living) this.#end(living, reason);
	}

	#wakeIn(ms: number): void {
		const sleepMs = Math.min(Math.max(ms, MIN_SLEEP_MS), MAX_SLEEP_MS);
		const wakesMs = this.#options.clock.uptimeMs() + sleepMs;
		if (this.#isClosed || wakesMs >= this.#wakesMs) return;
		clearTimeout(this.#timer);
		this.#wakesMs = wakesMs;
		this.#timer = setTimeout(() => {
			this.#wakesMs = Number.POSITIVE_INFINITY;
			this.sweep();
		}, sleepMs).unref();
	}

	/** Undefined for one that has no end, and for one that is on its way elsewhere. */
	#findEnd({ stored, sandbox, activity, destroying }: Living): End | undefined {
		const { state, onExpiry } = sandbox;
		const canEnd = state === "running" || (state === "failed" && onExpiry === "destroy");
		if (!canEnd || destroying) return undefined;
		const lifetimeMs = stored.deadline ? msUntil(this.#options.clock, stored.deadline) : undefined;
		const idleMs = activity.msLeft();
		if (lifetimeMs !== undefined && lifetimeMs <= (idleMs ?? lifetimeMs)) {
			return { inMs: lifetimeMs, reason: "its lifetime ended" };
		}
		return idleMs === undefined ? undefined : { inMs: idleMs, reason: "it was idle" };
	}
}
