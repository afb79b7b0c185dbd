/**
 * The stdin of a process, shared by all who write to it through one connection. Writes are sent one after the other, within
 * what the agent grants, so no piece is torn by another writer's, and a writer is as slow as the process.
 *
 * There is one channel that writes: that of the start, as long as its reader stays, or one that is opened for it when
 * somebody writes. It begins where the last one stopped, as the agent takes all frames in order.
 */

import { AgentError, parseError, toViolation } from "./agent-error.ts";
import type { ChannelLink, ChannelReceiver } from "./channels.ts";
import { startDeadline } from "./deadline.ts";
import { FrameWriter, type PayloadReader, REPLY, REQUEST } from "./frames.ts";

export interface ProcessInputOptions {
	/** Takes a channel number; throws when the connection has ended. */
	readonly open: () => ChannelLink;
	/** For the agent's answer to the opening of a channel. */
	readonly timeoutMs: number;
	/** Nothing is written here any more; called once. */
	readonly onEnd: (input: ProcessInput) => void;
}

/** Several fit into what the agent grants. */
const FRAME_BYTES = 32 * 1024;
/** The agent's window is 64 KiB; one that grants far more is not counting. */
const MAX_CREDIT = 2 ** 24;

export function toPipeError(id: string): AgentError {
	return new AgentError(`write to the stdin of process ${id}: it is closed`, { errnoName: "EPIPE" });
}

export class ProcessInput implements ChannelReceiver {
	readonly id: string;
	readonly #options: ProcessInputOptions;
	/** The channel that writes; undefined: none yet, or no more. */
	#link: ChannelLink | undefined;
	#isOpen = false;
	#credit = 0;
	#ending: AgentError | undefined;
	#waiting = 0;
	#lastWrite: Promise<void> = Promise.resolve();
	#wake: (() => void) | undefined;

	constructor(id: string, options: ProcessInputOptions) {
		this.id = id;
		this.#options = options;
	}

	get hasEnded(): boolean {
		return this.#ending !== undefined;
	}

	/** From now on, the channel of a start writes. */
	shareChannel(link: ChannelLink): void {
		this.#link = link;
		this.#isOpen = true;
	}

	/** The reader whose channel it was has left. What is still to be written goes on through another. */
	loseChannel(): void {
		this.#link = undefined;
		this.#isOpen = false;
		this.#credit = 0;
		this.#endIfUnused();
		this.#wake?.();
	}

	/** Resolves when all of it was sent within the agent's grants; the chunk may be used again then. */
	write(chunk: Uint8Array): Promise<void> {
		return this.#inTurn(() => this.#writeAll(chunk));
	}

	/** After what was written; a terminal gets its end-of-file character. No error when it is closed already. */
	close(): Promise<void> {
		return this.#inTurn(() => this.#close());
	}

	/** A STDIN_CREDIT on a shared channel; one of 0 bytes says that stdin is over. */
	onCredit(payload: PayloadReader): void {
		const bytes = this.#takeCredit(payload);
		if (bytes === 0) this.end(toPipeError(this.id));
	}

	/** A frame of a channel of its own. */
	receive(type: number, payload: PayloadReader): void {
		if (type === REPLY.stdinCredit) {
			this.#isOpen = true;
			this.#takeCredit(payload);
			return;
		}
		if (type !== REPLY.error) throw toViolation(`a frame of type ${type} on the channel of a stdin`);
		const error = parseError(payload, `write to the stdin of process ${this.id}`);
		this.#link?.release();
		this.end(error);
	}

	fail(error: AgentError): void {
		this.end(error);
	}

	/** All that waits fails with the error, and so does what comes later. May be repeated. */
	end(error: AgentError): void {
		if (this.#ending) return;
		this.#ending = error;
		this.#isOpen = false;
		this.#wake?.();
		this.#options.onEnd(this);
	}

	#takeCredit(payload: PayloadReader): number {
		const bytes = payload.takeU32();
		payload.finish();
		this.#credit += bytes;
		if (this.#credit > MAX_CREDIT) throw toViolation("more stdin than anybody could want");
		this.#wake?.();
		return bytes;
	}

	#inTurn(step: () => Promise<void>): Promise<void> {
		this.#waiting += 1;
		const done = this.#lastWrite.then(step).finally(() => {
			this.#waiting -= 1;
			this.#endIfUnused();
		});
		this.#lastWrite = done.catch(() => {});
		return done;
	}

	#endIfUnused(): void {
		if (this.#waiting === 0 && !this.#link) this.end(toPipeError(this.id));
	}

	async #writeAll(chunk: Uint8Array): Promise<void> {
		for (let at = 0; at < chunk.length || !this.#isOpen; ) {
			if (!this.#isOpen) {
				await this.#openChannel();
			} else if (this.#credit === 0) {
				await this.#woken();
			} else {
				const piece = chunk.subarray(at, at + Math.min(this.#credit, FRAME_BYTES));
				this.#send(REQUEST.stdin, piece);
				this.#credit -= piece.length;
				at += piece.length;
			}
		}
	}

	async #close(): Promise<void> {
		try {
			while (!this.#isOpen) await this.#openChannel();
			this.#send(REQUEST.stdinClose);
		} catch (error) {
			if (!(error instanceof AgentError) || error.errnoName !== "EPIPE") throw error;
		}
		this.end(toPipeError(this.id));
	}

	#send(type: number, bytes?: Uint8Array): void {
		if (!this.#link) return;
		const frame = new FrameWriter(type, this.#link.channel);
		this.#link.send((bytes ? frame.bytes(bytes) : frame).finish());
	}

	/** Returns when the agent has answered; throws when stdin is over. Whether it is open may change until it is looked at. */
	async #openChannel(): Promise<void> {
		if (this.#ending) throw this.#ending;
		const link = this.#options.open();
		const frame = new FrameWriter(REQUEST.stdinOpen, link.channel).text("the process id", this.id).finish();
		link.listen(this);
		link.send(frame);
		this.#link = link;
		const cancel = startDeadline(this.#options.timeoutMs, () => {
			link.abandon();
			this.end(this.#toTimeout());
		});
		while (!this.#isOpen && !this.#ending) await this.#woken();
		cancel();
	}

	#woken(): Promise<void> {
		return new Promise((resolve) => {
			this.#wake = resolve;
		});
	}

	#toTimeout(): AgentError {
		const message = `the stdin of process ${this.id}: the agent did not answer within ${this.#options.timeoutMs} ms`;
		return new AgentError(message, { errnoName: "ETIMEDOUT" });
	}
}
