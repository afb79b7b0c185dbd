/** Waiting for a daemon that is away: it may be restarting, and what was begun goes on with the next one. */
import { ShaleConnectionError } from "./errors.ts";

/** How long a lost daemon is waited for. Foreground programs that nobody comes back to are killed after as long. */
export const DEFAULT_RECONNECT_MS = 60_000;

const FIRST_WAIT_MS = 50;
const LONGEST_WAIT_MS = 2_000;

export interface ReconnectOptions {
	/** A daemon that is away is waited for so long; 0 gives up at once. Default: that of the client, 60 s. */
	readonly reconnectMs?: number | undefined;
	/** Told when the connection is lost, and when it is back. */
	readonly onConnection?: ((state: "lost" | "back") => void) | undefined;
	readonly signal?: AbortSignal | undefined;
}

export interface PatienceOptions extends ReconnectOptions {
	readonly reconnectMs: number;
	/** One that never answered is not waited for: it is not away, it is not there. */
	readonly wasReached: () => boolean;
}

export class Patience {
	readonly #options: PatienceOptions;
	#lostAt: number | undefined;
	#waitMs = FIRST_WAIT_MS;

	constructor(options: PatienceOptions) {
		this.#options = options;
	}

	/**
	 * Resolves when it is time to try again.
	 * @throws the error when it is not a lost connection or the time is up; the signal's reason.
	 */
	async wait(error: unknown): Promise<void> {
		const { signal, reconnectMs, wasReached, onConnection } = this.#options;
		if (!isLost(error) || !wasReached()) throw error;
		const isFirst = this.#lostAt === undefined;
		this.#lostAt ??= performance.now();
		const leftMs = this.#lostAt + reconnectMs - performance.now();
		if (leftMs <= 0) throw error;
		if (isFirst) onConnection?.("lost");
		// Clients that lost their daemon together do not come back together.
		await sleep(Math.min(leftMs, this.#waitMs * (0.5 + Math.random())), signal);
		this.#waitMs = Math.min(this.#waitMs * 2, LONGEST_WAIT_MS);
	}

	/** The daemon has answered. */
	reward(): void {
		if (this.#lostAt === undefined) return;
		this.#lostAt = undefined;
		this.#waitMs = FIRST_WAIT_MS;
		this.#options.onConnection?.("back");
	}
}

function isLost(error: unknown): boolean {
	return error instanceof ShaleConnectionError && error.isLost;
}

async function sleep(timeMs: number, signal: AbortSignal | undefined): Promise<void> {
	signal?.throwIfAborted();
	const { promise, resolve } = Promise.withResolvers<void>();
	const timer = setTimeout(resolve, timeMs);
	signal?.addEventListener("abort", () => resolve(), { once: true });
	await promise;
	clearTimeout(timer);
	signal?.throwIfAborted();
}
