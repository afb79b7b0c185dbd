/** Output bytes as JSON events: text where it is UTF-8, base64 where it is not, nothing lost in either. */
import { isUtf8 } from "node:buffer";
import type { OutputChunk } from "../sandbox/types.ts";

export type OutputEvent =
	| { readonly type: "stdout" | "stderr"; readonly offset: number; readonly text: string }
	| { readonly type: "stdout" | "stderr"; readonly offset: number; readonly base64: string };

interface Held {
	/** 1 to 3 bytes: the beginning of a character whose end has not come yet. */
	readonly bytes: Buffer;
	readonly offset: number;
}

/**
 * Turns chunks into events. A character that a chunk's border cuts is held back until its rest comes, so valid
 * UTF-8 always comes as text.
 */
export class OutputText {
	readonly #held: { stdout: Held | undefined; stderr: Held | undefined } = {
		stdout: undefined,
		stderr: undefined,
	};

	/** Zero to two events; `data` is not used after the return. */
	push({ stream, offset, data }: OutputChunk): OutputEvent[] {
		const held = this.#held[stream];
		this.#held[stream] = undefined;
		if (held && held.offset + held.bytes.length !== offset) {
			// Bytes were dropped in between: the character will never be whole.
			return [toEvent(stream, held.offset, held.bytes), ...this.push({ stream, offset, data })];
		}
		const bytes = held ? Buffer.concat([held.bytes, data]) : data;
		const start = held ? held.offset : offset;
		const cut = bytes.length - incompleteTail(bytes);
		if (cut < bytes.length)
			this.#held[stream] = { bytes: Buffer.from(bytes.subarray(cut)), offset: start + cut };
		return cut > 0 ? [toEvent(stream, start, bytes.subarray(0, cut))] : [];
	}

	/** What is still held back when no more will come, or not what belongs to it. */
	flush(streams: readonly OutputChunk["stream"][] = ["stdout", "stderr"]): OutputEvent[] {
		const events: OutputEvent[] = [];
		for (const stream of streams) {
			const held = this.#held[stream];
			if (held) events.push(toEvent(stream, held.offset, held.bytes));
			this.#held[stream] = undefined;
		}
		return events;
	}
}

function toEvent(type: "stdout" | "stderr", offset: number, bytes: Buffer): OutputEvent {
	return isUtf8(bytes)
		? { type, offset, text: bytes.toString("utf8") }
		: { type, offset, base64: bytes.toString("base64") };
}

/** How many bytes at the end begin a character without ending it (RFC 3629 §3): 0 to 3. */
function incompleteTail(bytes: Buffer): number {
	for (let back = 1; back <= 3 && back <= bytes.length; back++) {
		const byte = bytes[bytes.length - back] ?? 0;
		if (byte < 0x80) return 0;
		if (byte >= 0xc0) return back < characterLength(byte) ? back : 0;
	}
	return 0;
}

/** By the first byte; 0 for bytes that begin no character. */
function characterLength(first: number): number {
	if (first >= 0xc2 && first <= 0xdf) return 2;
	if (first >= 0xe0 && first <= 0xef) return 3;
	if (first >= 0xf0 && first <= 0xf4) return 4;
	return 0;
}
