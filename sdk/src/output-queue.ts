/** Chunks between a session's connections and its one reader; holds the connection up while the reader is behind. */
import type { OutputChunk } from "./types.ts";

/** Output that waits for its reader. */
const MAX_QUEUED_BYTES = 1024 * 1024;

export class OutputQueue {
	readonly #onRoom: (hasRoom: boolean) => void;
	#chunks: OutputChunk[] = [];
	#queuedBytes = 0;
	#ended = false;
	#isDiscarding = false;
	#failure: { readonly error: unknown } | undefined;
	#wake: () => void = () => undefined;

	/** @param onRoom called when too much waits, and when there is room again */
	constructor(onRoom: (hasRoom: boolean) => void) {
		this.#onRoom = onRoom;
	}

	get hasRoom(): boolean {
		return this.#queuedBytes <= MAX_QUEUED_BYTES;
	}

	push(chunk: OutputChunk): void {
		if (this.#isDiscarding) return;
		this.#chunks.push(chunk);
		this.#queuedBytes += chunk.data.byteLength;
		if (!this.hasRoom) this.#onRoom(false);
		this.#wake();
	}

	end(): void {
		this.#ended = true;
		this.#wake();
	}

	/** Nobody will read what comes from now on. */
	discard(): void {
		this.#isDiscarding = true;
	}

	/** What is queued is still read; the error comes after it. The first call counts, and none after the end. */
	fail(error: unknown): void {
		if (!this.#ended) this.#failure ??= { error };
		this.#wake();
	}

	async *read(): AsyncGenerator<OutputChunk> {
		for (;;) {
			const chunks = this.#chunks;
			this.#chunks = [];
			this.#queuedBytes = 0;
			this.#onRoom(true);
			yield* chunks;
			if (this.#chunks.length > 0) continue;
			if (this.#ended) return;
			if (this.#failure) throw this.#failure.error;
			await new Promise<void>((resolve) => {
				this.#wake = resolve;
			});
		}
	}
}
