/**
 * The byte stream to an agent as channels: the greeting, frames in both directions, one receiver for each channel number.
 * Frames of one tick are written at once.
 *
 * When the stream ends, or the agent breaks the protocol, every receiver is told one and the same error, and the stream is
 * destroyed.
 */

import type { Duplex } from "node:stream";
import { ShaleError } from "../lib/errors.ts";
import { AgentError, parseError, toViolation } from "./agent-error.ts";
import { startDeadline } from "./deadline.ts";
import {
	type Frame,
	FrameDecoder,
	FrameWriter,
	MAX_PAYLOAD_BYTES,
	type PayloadReader,
	PROTOCOL_VERSION,
	REPLY,
	REQUEST,
} from "./frames.ts";

/** What is at the other end of a channel number. */
export interface ChannelReceiver {
	/** A frame has come. What it throws ends the connection, so it must not have released its channel before. */
	receive(type: number, payload: PayloadReader): void;
	/** The connection is over. */
	fail(error: AgentError): void;
}

/** What the owner of a channel may do with it. */
export interface ChannelLink {
	readonly channel: number;
	/** Says who takes what comes; until then the number is only reserved for this tick. */
	listen(receiver: ChannelReceiver): void;
	send(frame: Buffer): void;
	/** The channel is over: nothing more comes for it. */
	release(): void;
	/** Gives the channel up, and tells the agent so; what still comes for it is dropped. */
	abandon(): void;
}

/** Frames that wait to be taken by a stream that does not: the agent does not read. */
const MAX_UNSENT_BYTES = 32 * 2 ** 20;
const MAX_CHANNELS = 65_536;
const CHANNEL_MAX = 0xffff_ffff;

export class Channels {
	/** With what went wrong; undefined after `close()`. Never rejects. */
	readonly closed: Promise<Error | undefined>;
	/** Resolves when the agent has said that it speaks our protocol; rejects with AgentError. */
	readonly greeted: Promise<void>;
	/** How long a request may take. */
	readonly requestTimeoutMs: number;

	readonly #stream: Duplex;
	readonly #decoder = new FrameDecoder();
	readonly #receivers = new Map<number, ChannelReceiver>();
	readonly #closed = Promise.withResolvers<Error | undefined>();
	readonly #greeted = Promise.withResolvers<void>();
	#build = "";
	#lastChannel = 0;
	#isGreeted = false;
	#isCorked = false;
	#failure: AgentError | undefined;

	/** Takes over the stream, which may still be connecting, and greets the agent. */
	constructor(stream: Duplex, { timeoutMs = 5_000, requestTimeoutMs = 10_000 }) {
		this.#stream = stream;
		this.requestTimeoutMs = requestTimeoutMs;
		this.closed = this.#closed.promise;
		this.greeted = this.#greeted.promise;
		stream.on("data", (chunk: Buffer) => this.#onData(chunk));
		stream.on("error", (cause) => this.fail(new AgentError("the connection to the agent failed", { cause })));
		stream.on("end", () => this.fail(new AgentError("the agent closed the connection")));
		stream.on("close", () => this.fail(new AgentError("the connection to the agent was closed")));
		this.#limitGreeting(timeoutMs);
		this.#send(new FrameWriter(REQUEST.hello, 0).u16(PROTOCOL_VERSION).finish());
	}

	/** What the agent says it is. */
	get build(): string {
		return this.#build;
	}

	/** May be repeated. */
	close(): void {
		if (this.#failure) return;
		this.#closed.resolve(undefined);
		this.fail(new AgentError("the connection to the agent was closed here"));
	}

	/** Ends the connection, unless it has ended. */
	fail(error: AgentError): void {
		if (this.#failure) return;
		this.#failure = error;
		this.#greeted.reject(error);
		this.#closed.resolve(error);
		this.#stream.destroy();
		const waiting = [...this.#receivers.values()];
		this.#receivers.clear();
		for (const receiver of waiting) receiver.fail(error);
	}

	/** Takes a free channel number. Throws the connection's error when it has ended, `unavailable` when all are taken. */
	open(): ChannelLink {
		if (this.#failure) throw this.#failure;
		if (this.#receivers.size >= MAX_CHANNELS) {
			throw new ShaleError("unavailable", `the agent has ${MAX_CHANNELS} unanswered requests`);
		}
		do this.#lastChannel = this.#lastChannel === CHANNEL_MAX ? 1 : this.#lastChannel + 1;
		while (this.#receivers.has(this.#lastChannel));
		const channel = this.#lastChannel;
		return {
			channel,
			listen: (receiver) => this.#receivers.set(channel, receiver),
			send: (frame) => this.#send(frame),
			release: () => this.#receivers.delete(channel),
			abandon: () => this.#abandon(channel),
		};
	}

	/** Sends one request; `onReply` says when the answer is complete. An ERROR rejects, and so does a late answer. */
	async request(
		subject: string,
		encode: (channel: number) => Buffer,
		onReply: (type: number, payload: PayloadReader) => boolean,
	): Promise<void> {
		const link = this.open();
		const frame = encode(link.channel);
		const answered = Promise.withResolvers<void>();
		link.listen({
			receive: (type, payload) => {
				if (type === REPLY.error) {
					const error = parseError(payload, subject);
					link.release();
					answered.reject(error);
				} else if (onReply(type, payload)) {
					link.release();
					answered.resolve();
				}
			},
			fail: answered.reject,
		});
		link.send(frame);
		// The channel stays open for the late answer, which then goes nowhere.
		const cancel = startDeadline(this.requestTimeoutMs, () => answered.reject(this.toTimeout(subject)));
		try {
			await answered.promise;
		} finally {
			cancel();
		}
	}

	/** A request whose answer is OK. */
	async requestOk(subject: string, encode: (channel: number) => Buffer): Promise<void> {
		await this.request(subject, encode, (type, payload) => {
			if (type !== REPLY.ok) throw toViolation(`a frame of type ${type} in answer to a request`);
			payload.finish();
			return true;
		});
	}

	toTimeout(subject: string): AgentError {
		return new AgentError(`${subject}: the agent did not answer within ${this.requestTimeoutMs} ms`, {
			errnoName: "ETIMEDOUT",
		});
	}

	#limitGreeting(timeoutMs: number): void {
		const cancel = startDeadline(timeoutMs, () =>
			this.fail(new AgentError(`the agent sent no greeting within ${timeoutMs} ms`)),
		);
		this.greeted.then(cancel, cancel);
	}

	#send(frame: Buffer): void {
		if (this.#failure) return;
		if (!this.#isCorked) {
			this.#isCorked = true;
			this.#stream.cork();
			process.nextTick(() => {
				this.#isCorked = false;
				this.#stream.uncork();
			});
		}
		this.#stream.write(frame);
		if (this.#stream.writableLength > MAX_UNSENT_BYTES) this.fail(new AgentError("the agent does not read"));
	}

	#onData(chunk: Buffer): void {
		if (this.#failure) return;
		try {
			for (const frame of this.#decoder.decode(chunk)) {
				this.#dispatch(frame);
				if (this.#failure) return;
			}
		} catch (cause) {
			this.fail(
				cause instanceof AgentError ? cause : new AgentError("a frame could not be handled", { cause }),
			);
		}
	}

	#dispatch({ type, channel, payload }: Frame): void {
		if (!this.#isGreeted) {
			this.#onHello(type, channel, payload);
			return;
		}
		const receiver = this.#receivers.get(channel);
		if (!receiver) throw toViolation(`a frame of type ${type} on channel ${channel}, which is not open`);
		receiver.receive(type, payload);
	}

	#onHello(type: number, channel: number, payload: PayloadReader): void {
		if (type !== REPLY.hello || channel !== 0) throw toViolation("no hello");
		const version = payload.takeU16();
		const maxPayloadBytes = payload.takeU32();
		const build = payload.takeText(256);
		payload.finish();
		if (version !== PROTOCOL_VERSION) throw toOtherVersion(version);
		if (maxPayloadBytes !== MAX_PAYLOAD_BYTES) throw toViolation("another frame size");
		this.#build = build;
		this.#isGreeted = true;
		this.#greeted.resolve();
	}

	/** Frames that were under way may still come; the agent's OK is the last. */
	#abandon(channel: number): void {
		this.#receivers.set(channel, {
			receive: (type) => {
				if (type === REPLY.ok) this.#receivers.delete(channel);
			},
			fail: () => {},
		});
		this.#send(new FrameWriter(REQUEST.detach, channel).finish());
	}
}

function toOtherVersion(version: number): AgentError {
	return new AgentError(`the agent speaks version ${version} of the protocol, not ${PROTOCOL_VERSION}`, {
		isOtherVersion: true,
	});
}
