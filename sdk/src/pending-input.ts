/**
 * Stdin that may have to be sent again. What was written is kept until the daemon says that it has arrived; after a
 * lost connection the next one tells how far the program got, and the rest is sent from there: no byte is lost or
 * doubled, as long as nobody else writes to the same program.
 */

/** Written and not known to have arrived; beyond, writers wait. The daemon's word comes up to 96 KiB late. */
const MAX_PENDING_BYTES = 512 * 1024;

/** The daemon takes messages up to 1 MiB. */
const MAX_MESSAGE_BYTES = 64 * 1024;

export interface InputSink {
	send(bytes: Uint8Array): void;
	end(): void;
}

export class PendingInput {
	/** In order, without gaps, from `#start` to `#end`. */
	#pieces: Uint8Array[] = [];
	#start = 0;
	#end = 0;
	/** Up to here it was given to a connection. */
	#sent = 0;
	#isClosed = false;
	#isOver = false;
	#sink: InputSink | undefined;
	#wakes: (() => void)[] = [];

	/** Resolves when more can be written. What is written after the program's end is dropped. */
	async write(bytes: Uint8Array): Promise<void> {
		for (let from = 0; from < bytes.length; from += MAX_MESSAGE_BYTES) {
			while (this.#end - this.#start > MAX_PENDING_BYTES && !this.#isOver) await this.#room();
			if (this.#isOver || this.#isClosed) return;
			// A copy: the caller may use its buffer again, and this one may be needed again.
			const piece = Uint8Array.from(bytes.subarray(from, from + MAX_MESSAGE_BYTES));
			this.#pieces.push(piece);
			this.#end += piece.length;
			if (this.#sink) this.#send(this.#sink, piece);
		}
	}

	close(): void {
		if (this.#isClosed) return;
		this.#isClosed = true;
		this.#sink?.end();
	}

	/** A connection is there, on which the program's next byte of stdin is this one. Sends what is pending. */
	resume(sink: InputSink, offset: number): void {
		const arrived = Math.min(Math.max(offset, this.#start), this.#sent);
		this.#drop(arrived);
		this.#rebase(offset);
		this.#sink = sink;
		this.#sent = this.#start;
		for (const piece of this.#pieces) this.#send(sink, piece);
		if (this.#isClosed) sink.end();
	}

	/** The connection is lost. */
	suspend(): void {
		this.#sink = undefined;
	}

	/** What was sent before this offset need not be kept. */
	acknowledge(offset: number): void {
		this.#drop(Math.min(offset, this.#sent));
	}

	/** The program is over: nobody waits any more. */
	end(): void {
		this.#isOver = true;
		this.#sink = undefined;
		this.#pieces = [];
		this.#wakeAll();
	}

	#send(sink: InputSink, piece: Uint8Array): void {
		this.#sent += piece.length;
		sink.send(piece);
	}

	#drop(offset: number): void {
		for (let piece = this.#pieces[0]; piece && this.#start < offset; piece = this.#pieces[0]) {
			const known = Math.min(piece.length, offset - this.#start);
			this.#start += known;
			if (known < piece.length) this.#pieces[0] = piece.subarray(known);
			else this.#pieces.shift();
		}
		this.#wakeAll();
	}

	/** Others' bytes may lie between the ones that have arrived and what comes now. */
	#rebase(start: number): void {
		this.#end += start - this.#start;
		this.#start = start;
	}

	#room(): Promise<void> {
		return new Promise((resolve) => this.#wakes.push(resolve));
	}

	#wakeAll(): void {
		const wakes = this.#wakes;
		this.#wakes = [];
		for (const wake of wakes) wake();
	}
}
