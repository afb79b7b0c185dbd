/**
 * Frames of the agent protocol, version 2: u32 payload length, u8 type, u32 channel, payload; little endian. The protocol is
 * described in native/README.md, the other end is native/wire.c.
 *
 * SECURITY: what comes from an agent is hostile input. Every read is bounded, a frame must be used up exactly, and whatever
 * does not fit throws an AgentError, which closes the connection.
 */

import { ShaleError } from "../lib/errors.ts";
import { toViolation } from "./agent-error.ts";

export const PROTOCOL_VERSION = 2;
export const HEADER_BYTES = 9;
export const MAX_PAYLOAD_BYTES = 65_536;

export const REQUEST = {
	hello: 0x01,
	start: 0x10,
	attach: 0x11,
	stdin: 0x12,
	stdinClose: 0x13,
	signal: 0x14,
	resize: 0x15,
	credit: 0x16,
	detach: 0x17,
	forget: 0x18,
	list: 0x19,
	stdinOpen: 0x1a,
	files: 0x20,
	tunnelWrite: 0x22,
	tunnelWriteEnd: 0x23,
	tunnelCredit: 0x24,
	tunnelClose: 0x25,
} as const;

export const REPLY = {
	hello: 0x80,
	started: 0x81,
	error: 0x82,
	output: 0x83,
	exit: 0x84,
	stdinCredit: 0x85,
	process: 0x86,
	done: 0x87,
	ok: 0x88,
	tunnelData: 0x90,
	tunnelGrant: 0x91,
	tunnelEnd: 0x92,
} as const;

export interface Frame {
	readonly type: number;
	readonly channel: number;
	readonly payload: PayloadReader;
}

/** Takes fields off a payload. A field that is not there, or a number beyond 2^53, is a violation. */
export class PayloadReader {
	readonly #bytes: Buffer;
	#at = 0;

	constructor(bytes: Buffer) {
		this.#bytes = bytes;
	}

	#take(length: number): number {
		const at = this.#at;
		if (length > this.#bytes.length - at) throw toViolation("a frame ends inside a field");
		this.#at = at + length;
		return at;
	}

	takeU8(): number {
		return this.#bytes.readUInt8(this.#take(1));
	}

	takeU16(): number {
		return this.#bytes.readUInt16LE(this.#take(2));
	}

	takeU32(): number {
		return this.#bytes.readUInt32LE(this.#take(4));
	}

	takeU64(): number {
		const at = this.#take(8);
		const value = this.#bytes.readUInt32LE(at) + this.#bytes.readUInt32LE(at + 4) * 2 ** 32;
		if (!Number.isSafeInteger(value)) throw toViolation("a number is out of range");
		return value;
	}

	takeI64(): number {
		const value = Number(this.#bytes.readBigInt64LE(this.#take(8)));
		if (!Number.isSafeInteger(value)) throw toViolation("a number is out of range");
		return value;
	}

	/** 0 or 1. */
	takeBoolean(): boolean {
		const value = this.takeU8();
		if (value > 1) throw toViolation("a boolean is neither 0 nor 1");
		return value === 1;
	}

	/** A word as text; bytes that are not UTF-8 become U+FFFD. */
	takeText(maxBytes: number): string {
		const length = this.takeU32();
		if (length > maxBytes) throw toViolation("a word is too long");
		const at = this.#take(length);
		return this.#bytes.toString("utf8", at, at + length);
	}

	/** All that is left; a view of the received chunk. */
	takeRest(): Buffer {
		return this.#bytes.subarray(this.#take(this.#bytes.length - this.#at));
	}

	/** To be called after the last field. */
	finish(): void {
		if (this.#at !== this.#bytes.length) throw toViolation("a frame is longer than its fields");
	}
}

/**
 * Cuts a stream of chunks into frames. A frame inside one chunk is a view of it; one that spans chunks is copied once into a
 * buffer of its own size, however many chunks it comes in.
 */
export class FrameDecoder {
	readonly #header = Buffer.alloc(HEADER_BYTES);
	#headerLength = 0;
	#payload: Buffer | undefined;
	#payloadLength = 0;

	/** The frames that this chunk completes. They must be used before the next chunk is decoded. */
	*decode(chunk: Buffer): Generator<Frame, void, undefined> {
		let at = 0;
		while (at < chunk.length) {
			const hasPartialFrame = this.#headerLength > 0;
			const whole = hasPartialFrame ? undefined : wholeFrame(chunk, at);
			if (whole) {
				at = whole.end;
				yield whole.frame;
				continue;
			}
			at += this.#fillHeader(chunk, at);
			at += this.#fillPayload(chunk, at);
			const frame = this.#takeCompleted();
			if (frame) yield frame;
		}
	}

	#fillHeader(chunk: Buffer, at: number): number {
		const copied = chunk.copy(this.#header, this.#headerLength, at);
		this.#headerLength += copied;
		if (this.#headerLength === HEADER_BYTES && !this.#payload) {
			this.#payload = Buffer.allocUnsafe(payloadLength(this.#header, 0));
			this.#payloadLength = 0;
		}
		return copied;
	}

	#fillPayload(chunk: Buffer, at: number): number {
		if (!this.#payload) return 0;
		const copied = chunk.copy(this.#payload, this.#payloadLength, at);
		this.#payloadLength += copied;
		return copied;
	}

	#takeCompleted(): Frame | undefined {
		const payload = this.#payload;
		if (!payload || this.#payloadLength < payload.length) return undefined;
		this.#headerLength = 0;
		this.#payload = undefined;
		return toFrame(this.#header, 0, payload);
	}
}

function payloadLength(bytes: Buffer, at: number): number {
	const length = bytes.readUInt32LE(at);
	if (length > MAX_PAYLOAD_BYTES) throw toViolation(`a frame of ${length} bytes`);
	return length;
}

function toFrame(bytes: Buffer, at: number, payload: Buffer): Frame {
	return {
		type: bytes.readUInt8(at + 4),
		channel: bytes.readUInt32LE(at + 5),
		payload: new PayloadReader(payload),
	};
}

function wholeFrame(chunk: Buffer, at: number): { frame: Frame; end: number } | undefined {
	if (chunk.length - at < HEADER_BYTES) return undefined;
	const start = at + HEADER_BYTES;
	const end = start + payloadLength(chunk, at);
	if (end > chunk.length) return undefined;
	return { frame: toFrame(chunk, at, chunk.subarray(start, end)), end };
}

/** For a payload that is sent as it is, without a copy: the header before it. */
export function encodeHeader(type: number, channel: number, payloadBytes: number): Buffer {
	const header = Buffer.allocUnsafe(HEADER_BYTES);
	header.writeUInt32LE(payloadBytes, 0);
	header.writeUInt8(type, 4);
	header.writeUInt32LE(channel, 5);
	return header;
}

/** Where frames are put together. Encoding is synchronous, so one for all is enough. */
const scratch = Buffer.allocUnsafe(HEADER_BYTES + MAX_PAYLOAD_BYTES);

/** Puts one frame together; nothing else may be encoded between its construction and `finish`. */
export class FrameWriter {
	readonly #type: number;
	readonly #channel: number;
	#at = HEADER_BYTES;

	constructor(type: number, channel: number) {
		this.#type = type;
		this.#channel = channel;
	}

	#reserve(length: number): number {
		const at = this.#at;
		if (length > scratch.length - at) {
			throw new ShaleError(
				"too_large",
				`argv and env: together they may have ${MAX_PAYLOAD_BYTES} bytes, and these have more`,
				{ hint: "Give long input on stdin, or put it into a file of the sandbox." },
			);
		}
		this.#at = at + length;
		return at;
	}

	u8(value: number): this {
		scratch.writeUInt8(value, this.#reserve(1));
		return this;
	}

	u16(value: number): this {
		scratch.writeUInt16LE(value, this.#reserve(2));
		return this;
	}

	u32(value: number): this {
		scratch.writeUInt32LE(value, this.#reserve(4));
		return this;
	}

	u64(value: number | bigint): this {
		scratch.writeBigUInt64LE(BigInt(value), this.#reserve(8));
		return this;
	}

	bytes(value: Uint8Array): this {
		scratch.set(value, this.#reserve(value.length));
		return this;
	}

	/** A word of UTF-8. A NUL cannot be in anything that the agent hands to the kernel. */
	text(what: string, value: string): this {
		if (value.includes("\0")) throw new ShaleError("invalid_argument", `${what} contains a NUL character`);
		const length = Buffer.byteLength(value);
		this.u32(length);
		scratch.write(value, this.#reserve(length), "utf8");
		return this;
	}

	finish(): Buffer {
		scratch.writeUInt32LE(this.#at - HEADER_BYTES, 0);
		scratch.writeUInt8(this.#type, 4);
		scratch.writeUInt32LE(this.#channel, 5);
		return Buffer.from(scratch.subarray(0, this.#at));
	}
}
