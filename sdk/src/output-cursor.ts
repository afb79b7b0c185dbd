/** How far a program's output has been read, over all connections: nothing comes twice, and what is missing is told. */
import type { DroppedOutput, OutputChunk } from "./types.ts";

type StreamName = OutputChunk["stream"];

export type Offsets = Readonly<Record<StreamName, number | undefined>>;

export class OutputCursor {
	readonly #next: Record<StreamName, number | undefined>;

	/** @param start where each stream is read from; undefined: wherever it begins */
	constructor(start: Offsets = { stdout: 0, stderr: 0 }) {
		this.#next = { ...start };
	}

	/** Where each stream goes on. */
	get next(): Offsets {
		return { ...this.#next };
	}

	/** What is new of a chunk, after the gap before it if there is one. */
	*take({ stream, offset, data }: OutputChunk): Generator<OutputChunk | DroppedOutput> {
		const next = this.#next[stream] ?? offset;
		const end = offset + data.byteLength;
		yield* this.skip({ stream, offset: next, bytes: offset - next });
		if (end <= next) return;
		this.#next[stream] = end;
		const known = Math.max(0, next - offset);
		yield known === 0 ? { stream, offset, data } : { stream, offset: next, data: data.subarray(known) };
	}

	/** What is new of a gap that the daemon tells. */
	*skip({ stream, offset, bytes }: DroppedOutput): Generator<DroppedOutput> {
		const next = this.#next[stream] ?? offset;
		const end = offset + bytes;
		if (end <= next) return;
		this.#next[stream] = end;
		yield { stream, offset: next, bytes: end - next };
	}
}
