/**
 * A tunnel: bytes both ways between us and something in the sandbox, on one channel of a connection. Each side sends within
 * what the other has granted, so a reader that is slow, here or there, costs one window of memory and holds up nobody else.
 * A tunnel ends with its connection.
 */

import { AgentError, toErrnoName, toViolation } from "./agent-error.ts";
import type { ChannelLink, ChannelReceiver } from "./channels.ts";
import type { PayloadReader } from "./frames.ts";
import { encodeHeader, FrameWriter, HEADER_BYTES, MAX_PAYLOAD_BYTES, REPLY, REQUEST } from "./frames.ts";
import { OutputQueue } from "./output-queue.ts";

/** How much may be on its way to us or unread here. */
export const TUNNEL_WINDOW_BYTES = 1024 * 1024;
/** What may be sent before the agent's first grant; TUNNEL_WINDOW_BYTES of agent-tunnel.h. */
export const FIRST_GRANT_BYTES = 512 * 1024;
/** With its header 64 KiB: the size that the other end reads at a time. */
const MAX_PIECE_BYTES = MAX_PAYLOAD_BYTES - HEADER_BYTES;
/** Granted at once: few frames, and always something left to go on with. */
const GRANT_BYTES = TUNNEL_WINDOW_BYTES / 4;

export class AgentTunnel implements ChannelReceiver {
	readonly #subject: string;
	readonly #link: ChannelLink;
	/** When the agent has ended the tunnel, or the connection is lost. */
	#ending: { readonly error?: AgentError } | undefined;
	#isClosed = false;

	readonly #queue = new OutputQueue();
	#receivedBytes = 0;
	#credit = TUNNEL_WINDOW_BYTES;
	#consumedBytes = 0;
	#wakeReader: (() => void) | undefined;

	#sendCredit = FIRST_GRANT_BYTES;
	#hasEndedInput = false;
	#wakeWriter: (() => void) | undefined;

	/** For the connection. `subject` begins the messages of its errors. */
	constructor(subject: string, link: ChannelLink) {
		this.#subject = subject;
		this.#link = link;
	}

	/**
	 * The next bytes, or undefined at the end. They count as consumed, so read no faster than they are used. Rejects with
	 * AgentError when the tunnel could not be opened (errnoName), has broken, or the connection is lost. One reader at a
	 * time.
	 */
	async read(): Promise<Buffer | undefined> {
		for (;;) {
			const chunk = this.#queue.shift();
			if (chunk) {
				this.#consume(chunk.data.length);
				return chunk.data;
			}
			if (this.#ending?.error) throw this.#ending.error;
			if (this.#ending || this.#isClosed) return undefined;
			await new Promise<void>((resolve) => {
				this.#wakeReader = resolve;
			});
		}
	}

	/**
	 * Resolves when the agent has granted room for all of it; the bytes may then still be on their way, so they must not
	 * be changed. False: the other end takes no more, and reading tells why. One writer at a time.
	 */
	async write(bytes: Uint8Array): Promise<boolean> {
		for (let at = 0; at < bytes.length; ) {
			if (this.#ending || this.#isClosed || this.#hasEndedInput) return false;
			if (this.#sendCredit === 0) {
				await new Promise<void>((resolve) => {
					this.#wakeWriter = resolve;
				});
				continue;
			}
			const piece = bytes.subarray(at, at + Math.min(this.#sendCredit, MAX_PIECE_BYTES));
			this.#link.send(encodeHeader(REQUEST.tunnelWrite, this.#link.channel, piece.length));
			this.#link.send(Buffer.from(piece.buffer, piece.byteOffset, piece.length));
			this.#sendCredit -= piece.length;
			at += piece.length;
		}
		return true;
	}

	/** Says that all has been written. For a worker that changes something this is what makes it happen. */
	endInput(): void {
		if (this.#ending || this.#isClosed || this.#hasEndedInput) return;
		this.#hasEndedInput = true;
		this.#link.send(new FrameWriter(REQUEST.tunnelWriteEnd, this.#link.channel).finish());
	}

	/** Gives it up: what is half done at the other end is undone there. Reading and writing end. May be repeated. */
	close(): void {
		if (this.#ending || this.#isClosed) return;
		this.#isClosed = true;
		this.#queue.clear();
		this.#link.send(new FrameWriter(REQUEST.tunnelClose, this.#link.channel).finish());
		this.#wake();
	}

	/** For the connection: a frame of this tunnel's channel. */
	receive(type: number, payload: PayloadReader): void {
		if (type === REPLY.tunnelData) this.#onData(payload.takeRest());
		else if (type === REPLY.tunnelGrant) this.#onGrant(payload);
		else if (type === REPLY.tunnelEnd) this.#onEnd(payload);
		else throw toViolation(`a frame of type ${type} on the channel of a tunnel`);
	}

	/** For the connection: nothing more will come. What has come can still be read. */
	fail(error: AgentError): void {
		this.#ending ??= { error };
		this.#wake();
	}

	#wake(): void {
		this.#wakeReader?.();
		this.#wakeWriter?.();
	}

	#onData(data: Buffer): void {
		if (data.length === 0 || data.length > this.#credit) throw toViolation("bytes beyond the credit");
		this.#credit -= data.length;
		// It may still come after close(), until the agent's end.
		if (this.#isClosed) return;
		// The queue puts small pieces together; to it, a tunnel is a process with one stream.
		this.#queue.push({ stream: "stdout", offset: this.#receivedBytes, data });
		this.#receivedBytes += data.length;
		this.#wakeReader?.();
	}

	#onGrant(payload: PayloadReader): void {
		this.#sendCredit += payload.takeU32();
		payload.finish();
		if (this.#sendCredit > FIRST_GRANT_BYTES) throw toViolation("more room than a tunnel has");
		this.#wakeWriter?.();
	}

	#onEnd(payload: PayloadReader): void {
		const errno = payload.takeU32();
		const message = payload.takeText(256);
		payload.finish();
		this.#link.release();
		const errnoName = toErrnoName(errno);
		this.#ending =
			errno === 0
				? {}
				: { error: new AgentError(`${this.#subject}: ${message} (${errnoName})`, { errnoName }) };
		this.#wake();
	}

	#consume(bytes: number): void {
		this.#consumedBytes += bytes;
		if (this.#ending || this.#isClosed || this.#consumedBytes < GRANT_BYTES) return;
		this.#link.send(
			new FrameWriter(REQUEST.tunnelCredit, this.#link.channel).u32(this.#consumedBytes).finish(),
		);
		this.#credit += this.#consumedBytes;
		this.#consumedBytes = 0;
	}
}
