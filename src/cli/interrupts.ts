/** The signals that ask `shale` to end, for verbs that have something to end first. */

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;

export type Interrupt = (typeof SIGNALS)[number];

const SIGNAL_NUMBERS: Readonly<Record<Interrupt | "SIGKILL", number>> = {
	SIGHUP: 1,
	SIGINT: 2,
	SIGQUIT: 3,
	SIGKILL: 9,
	SIGTERM: 15,
};

/** The user ended the verb; there is nothing to tell. */
export class InterruptedError extends Error {
	override readonly name = "InterruptedError";
	/** 128 + N, as shells report it. */
	readonly exitCode: number;

	constructor(signal: Interrupt | "SIGKILL") {
		super(`ended by ${signal}`);
		this.exitCode = 128 + SIGNAL_NUMBERS[signal];
	}
}

/**
 * Takes the signals until it is disposed. Each goes to the innermost {@link during}; outside of one the
 * signal only aborts {@link signal}.
 */
export class Interrupts {
	readonly #abort = new AbortController();
	readonly #listeners = new Map<Interrupt, () => void>();
	#handler: ((signal: Interrupt) => void) | undefined;

	constructor() {
		for (const name of SIGNALS) {
			const listener = (): void => this.#onSignal(name);
			this.#listeners.set(name, listener);
			process.on(name, listener);
		}
	}

	/** Aborts with an {@link InterruptedError}. */
	get signal(): AbortSignal {
		return this.#abort.signal;
	}

	/** Runs `action` with the signals going to `handler` instead. */
	async during<T>(handler: (signal: Interrupt) => void, action: () => Promise<T>): Promise<T> {
		const outer = this.#handler;
		this.#handler = handler;
		try {
			return await action();
		} finally {
			this.#handler = outer;
		}
	}

	[Symbol.dispose](): void {
		for (const [name, listener] of this.#listeners) process.off(name, listener);
	}

	#onSignal(name: Interrupt): void {
		if (this.#handler) this.#handler(name);
		else this.#abort.abort(new InterruptedError(name));
	}
}
