/**
 * What happens to sandboxes, for whoever watches: the newest events, each with an id from which a reader goes on.
 * A reader is a place in this log and queues nothing, so that slow readers cost nothing.
 */
import { randomBytes } from "node:crypto";

export const EVENT_TYPES = [
	"sandbox.created",
	"sandbox.running",
	"sandbox.stopped",
	"sandbox.failed",
	"sandbox.destroyed",
	"sandbox.expired",
	"sandbox.extended",
	"sandbox.adopted",
	"host.leak",
] as const;

export type EventType = (typeof EVENT_TYPES)[number];

/** What is known beside the type; which of it there is depends on the type. */
export interface EventFacts {
	readonly sandboxId?: string | undefined;
	/** Why it stopped, failed or expired. */
	readonly reason?: string | undefined;
	/** Of `sandbox.extended`: the new end of its lifetime, null when it has none. */
	readonly expiresAt?: string | null | undefined;
	/** Of `host.leak`: what nobody owns. */
	readonly resource?: { readonly kind: string; readonly name: string } | undefined;
}

/** `reset`: events before this one are no longer known here, or were another daemon's. */
export interface SandboxEvent extends EventFacts {
	/** `EPOCH-NUMBER`: a new epoch each time the daemon starts, numbers without gaps from 1. */
	readonly id: string;
	readonly type: EventType | "reset";
	/** By the host's clock. */
	readonly at: string;
}

export interface EventLogOptions {
	/** How many events are kept. Default 1000. */
	readonly capacity?: number;
	/** Default: made up. */
	readonly epoch?: string;
	readonly now?: () => Date;
}

const CAPACITY = 1000;

export class EventLog {
	readonly #capacity: number;
	readonly #epoch: string;
	readonly #now: () => Date;
	readonly #counts = new Map<EventType, number>();
	readonly #waiting = new Set<() => void>();
	/** The newest, oldest first; the last one has the number {@link #last}. */
	readonly #events: SandboxEvent[] = [];
	#last = 0;

	constructor({ capacity = CAPACITY, epoch, now = () => new Date() }: EventLogOptions = {}) {
		this.#capacity = capacity;
		this.#epoch = epoch ?? randomBytes(4).toString("hex");
		this.#now = now;
	}

	/** Takes microseconds, never waits for a reader and never throws. */
	emit(type: EventType, facts: EventFacts = {}): void {
		this.#last++;
		this.#events.push({ id: this.#toId(this.#last), type, at: this.#now().toISOString(), ...facts });
		if (this.#events.length > this.#capacity) this.#events.shift();
		this.#counts.set(type, this.count(type) + 1);
		for (const wake of this.#waiting) wake();
		this.#waiting.clear();
	}

	/** How many of this type there were since the start. */
	count(type: EventType): number {
		return this.#counts.get(type) ?? 0;
	}

	/**
	 * Events from now on; with `afterId`, those after that one, and when it is not known (any more), a `reset` and all
	 * that are kept. A reader that falls behind by more than the log gets a `reset` too. Ends only by `return()`, which
	 * may be called while `next()` waits.
	 */
	subscribe(afterId?: string): AsyncIterableIterator<SandboxEvent, undefined> {
		let reached = afterId === undefined ? this.#last : this.#toNumber(afterId);
		let isOver = false;
		let wake: () => void = () => undefined;
		const next = async (): Promise<IteratorResult<SandboxEvent, undefined>> => {
			for (;;) {
				if (isOver) return { done: true, value: undefined };
				const dropped = this.#last - this.#events.length;
				if (reached === undefined || reached < dropped) {
					reached = dropped;
					return { value: { id: this.#toId(reached), type: "reset", at: this.#now().toISOString() } };
				}
				const value = this.#events[reached - dropped];
				if (value) {
					reached++;
					return { value };
				}
				await new Promise<void>((resolve) => {
					wake = resolve;
					this.#waiting.add(resolve);
				});
			}
		};
		return {
			next,
			return: async () => {
				isOver = true;
				this.#waiting.delete(wake);
				wake();
				return { done: true, value: undefined };
			},
			[Symbol.asyncIterator]() {
				return this;
			},
		};
	}

	#toId(number: number): string {
		return `${this.#epoch}-${number}`;
	}

	/** Undefined for an id that this log never gave. */
	#toNumber(id: string): number | undefined {
		const [, epoch, digits] = /^(\w+)-(\d{1,15})$/.exec(id) ?? [];
		const number = Number(digits);
		return epoch === this.#epoch && number <= this.#last ? number : undefined;
	}
}
