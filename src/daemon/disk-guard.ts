/** Work that writes much, such as building a layer, ends before it has filled the disk. */
import { ShaleError } from "../lib/errors.ts";

export interface DiskGuardOptions {
	/** What anybody can still write there. */
	readonly readFreeMiB: () => number;
	/** What must stay free; 0 switches the guard off. */
	readonly minFreeMiB: number;
	/** For tests: how often is looked. Default 250: a fast disk takes some 100 MB in that time. */
	readonly intervalMs?: number;
}

const INTERVAL_MS = 250;

export class DiskGuard {
	readonly #options: DiskGuardOptions;

	constructor(options: DiskGuardOptions) {
		this.#options = options;
	}

	/**
	 * Runs `action` with a signal that aborts when `signal` does, and when the disk runs short.
	 * @throws ShaleError `resource_exhausted` in the latter case, also before it begins; otherwise what `action` throws.
	 */
	async during<T>(signal: AbortSignal, action: (signal: AbortSignal) => Promise<T>): Promise<T> {
		const first = this.#findShortage();
		if (first) throw first;
		const short = new AbortController();
		const look = () => {
			const shortage = this.#findShortage();
			if (shortage) short.abort(shortage);
		};
		const timer = setInterval(look, this.#options.intervalMs ?? INTERVAL_MS).unref();
		try {
			return await action(AbortSignal.any([signal, short.signal]));
		} catch (error) {
			throw short.signal.aborted && !signal.aborted ? short.signal.reason : error;
		} finally {
			clearInterval(timer);
		}
	}

	#findShortage(): ShaleError | undefined {
		const { readFreeMiB, minFreeMiB } = this.#options;
		if (minFreeMiB === 0) return undefined;
		const available = readFreeMiB();
		if (available >= minFreeMiB) return undefined;
		return new ShaleError(
			"resource_exhausted",
			`${available} MiB of disk are free, and ${minFreeMiB} are kept (minFreeDiskMiB)`,
			{
				hint: "Remove layers or sandboxes that are not needed.",
				details: { resource: "disk", available, threshold: minFreeMiB },
			},
		);
	}
}
