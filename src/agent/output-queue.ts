/**
 * Output that has come and that nobody has read yet. How many bytes that may be is limited by credit; this queue sees to it
 * that they do not cost much more than their number, however small the frames they come in: small pieces are copied (so
 * that they do not hold a whole received chunk) and put together.
 */

export type StreamName = "stdout" | "stderr";

export interface OutputChunk {
	readonly stream: StreamName;
	/** Of the first byte in its stream. After a gap, the bytes in between are lost. */
	readonly offset: number;
	readonly data: Buffer;
}

interface Piece {
	readonly stream: StreamName;
	readonly offset: number;
	/** The first `length` bytes are the data; a copy has room for more. */
	readonly bytes: Buffer;
	length: number;
}

const SMALL_BYTES = 4096;
const BLOCK_BYTES = 16 * 1024;
/** So many pieces are delivered as they came; with more, small ones are put together. */
const SEPARATE_PIECES = 16;

export class OutputQueue {
	#pieces: Piece[] = [];
	#head = 0;
	/** The last piece of each stream, if it is still here and a copy. */
	readonly #tails: Partial<Record<StreamName, Piece>> = {};

	push(chunk: OutputChunk): void {
		const { stream, offset, data } = chunk;
		if (data.length >= SMALL_BYTES) {
			delete this.#tails[stream];
			this.#pieces.push({ stream, offset, bytes: data, length: data.length });
			return;
		}
		if (this.#appendToTail(chunk)) return;
		const isCrowded = this.#pieces.length - this.#head >= SEPARATE_PIECES;
		const bytes = Buffer.allocUnsafe(isCrowded ? BLOCK_BYTES : data.length);
		data.copy(bytes);
		const piece = { stream, offset, bytes, length: data.length };
		this.#tails[stream] = piece;
		this.#pieces.push(piece);
	}

	#appendToTail({ stream, offset, data }: OutputChunk): boolean {
		const tail = this.#tails[stream];
		const isNext = tail && tail.offset + tail.length === offset;
		if (!isNext || tail.bytes.length - tail.length < data.length) return false;
		data.copy(tail.bytes, tail.length);
		tail.length += data.length;
		return true;
	}

	/** The oldest; undefined when there is none. */
	shift(): OutputChunk | undefined {
		const piece = this.#pieces[this.#head];
		if (!piece) return undefined;
		this.#head += 1;
		if (this.#head === this.#pieces.length || this.#head === 1024) {
			this.#pieces = this.#pieces.slice(this.#head);
			this.#head = 0;
		}
		if (this.#tails[piece.stream] === piece) delete this.#tails[piece.stream];
		return { stream: piece.stream, offset: piece.offset, data: piece.bytes.subarray(0, piece.length) };
	}

	clear(): void {
		this.#pieces = [];
		this.#head = 0;
		delete this.#tails.stdout;
		delete this.#tails.stderr;
	}
}
