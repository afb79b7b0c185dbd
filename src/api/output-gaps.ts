/** What is missing between the chunks of output, told where it is missing. */
import type { OutputChunk } from "../sandbox/types.ts";

type StreamName = OutputChunk["stream"];

/** Where the client expects each stream to go on; undefined where any beginning will do. */
export type ExpectedOffsets = Readonly<Record<StreamName, number | undefined>>;

export interface DroppedEvent {
	readonly type: "dropped";
	readonly stream: StreamName;
	readonly bytes: number;
	/** Of the first byte that is missing. */
	readonly offset: number;
}

export class OutputGaps {
	readonly #next: Record<StreamName, number | undefined>;

	constructor(expected: ExpectedOffsets) {
		this.#next = { ...expected };
	}

	/** The gap before this chunk, if there is one. To be asked once for each chunk, in order. */
	before({ stream, offset, data }: OutputChunk): DroppedEvent | undefined {
		const next = this.#next[stream];
		this.#next[stream] = offset + data.length;
		if (next === undefined || offset <= next) return undefined;
		return { type: "dropped", stream, bytes: offset - next, offset: next };
	}
}
