/**
 * The client of one agent, over whatever byte stream its backend hands over. Channels carry processes and single requests;
 * frames of one tick are written at once.
 *
 * Nothing here waits for ever: requests have a deadline, and when the stream ends, or the agent breaks the protocol, all that
 * waits fails with one error and the stream is destroyed. Processes in the sandbox go on; attach to them again.
 */

import type { Duplex } from "node:stream";
import { ShaleError } from "../lib/errors.ts";
import { AgentError, AgentVersionError, toViolation } from "./agent-error.ts";
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
import { AgentProcess, type ChannelLink, parseError } from "./process.ts";
import {
	checkInteger,
	checkProcessId,
	checkTerminalSize,
	checkWindow,
	encodeStart,
	type StartProcess,
	type TerminalSize,
} from "./process-spec.ts";
import { type ProcessStatus, parseProcessStatus } from "./process-status.ts";

export type { ProcessExit } from "./process-status.ts";
export type { ProcessStatus, StartProcess, TerminalSize };

export interface OpenOptions {
	/** For the hello; default 5 s. */
	readonly timeoutMs?: number;
	/** For each request, later; default 10 s. */
	readonly requestTimeoutMs?: number;
}

export interface AttachOptions {
	/** Where the reading begins; default 0. What is no longer kept is skipped: the first chunk's offset tells. */
	readonly stdoutOffset?: number;
	readonly stderrOffset?: number;
	readonly windowBytes?: number;
}

/** What is at the other end of a channel number. */
interface Channel {
	receive(type: number, payload: PayloadReader): void;
	fail(error: AgentError): void;
}

/** Frames that wait to be taken by a stream that does not: the agent does not read. */
const MAX_UNSENT_BYTES = 32 * 2 ** 20;
const MAX_CHANNELS = 65_536;
const MAX_LISTED = 65_536;
const CHANNEL_MAX = 0xffff_ffff;

export class AgentConnection {
	/** With what went wrong; undefined after `close()`. Never rejects. */
	readonly closed: Promise<Error | undefined>;
	/** Resolves when the agent has said that it speaks our protocol; rejects with AgentError. */
	readonly greeted: Promise<void>;

	readonly #stream: Duplex;
	readonly #requestTimeoutMs: number;
	readonly #decoder = new FrameDecoder();
	readonly #channels = new Map<number, Channel>();
	readonly #closed = Promise.withResolvers<Error | undefined>();
	readonly #greeted = Promise.withResolvers<void>();
	#build = "";
	#lastChannel = 0;
	#isGreeted = false;
	#isCorked = false;
	#failure: AgentError | undefined;

	private constructor(stream: Duplex, requestTimeoutMs: number) {
		this.#stream = stream;
		this.#requestTimeoutMs = requestTimeoutMs;
		this.closed = this.#closed.promise;
		this.greeted = this.#greeted.promise;
		stream.on("data", (chunk: Buffer) => this.#onData(chunk));
		stream.on("error", (cause) =>
			this.#fail(new AgentError("the connection to the agent failed", { cause })),
		);
		stream.on("end", () => this.#fail(new AgentError("the agent closed the connection")));
		stream.on("close", () => this.#fail(new AgentError("the connection to the agent was closed")));
	}

	/**
	 * Takes over the stream, which may still be connecting, and greets the agent. Requests need not wait for its
	 * greeting: they fail, like {@link greeted}, when none comes or when it is not one of ours.
	 */
	static open(stream: Duplex, options: OpenOptions = {}): AgentConnection {
		const { timeoutMs = 5_000, requestTimeoutMs = 10_000 } = options;
		const connection = new AgentConnection(stream, requestTimeoutMs);
		const onTimeout = () =>
			connection.#fail(new AgentError(`the agent sent no greeting within ${timeoutMs} ms`));
		const timer = setTimeout(onTimeout, timeoutMs);
		const clear = () => clearTimeout(timer);
		connection.greeted.then(clear, clear);
		connection.#send(new FrameWriter(REQUEST.hello, 0).u16(PROTOCOL_VERSION).finish());
		return connection;
	}

	/** What the agent says it is; for logs only. */
	get build(): string {
		return this.#build;
	}

	/**
	 * Starts a process and reads its output from the beginning. A program that cannot be executed is a process that exits
	 * with 126 or 127. AgentError EEXIST: the id is taken; ENOENT: no such user.
	 */
	async start(spec: StartProcess): Promise<AgentProcess> {
		const windowBytes = checkWindow(spec.windowBytes);
		return this.#openProcess(
			spec.id,
			(link) => new AgentProcess(spec.id, link, { windowBytes, isAttached: spec.attach ?? true }),
			(channel) => encodeStart(channel, spec),
		);
	}

	/** Reads a process that was started before, also one that has exited. Takes the place of another reader. */
	async attach(id: string, options: AttachOptions = {}): Promise<AgentProcess> {
		checkProcessId(id);
		const windowBytes = checkWindow(options.windowBytes);
		const range = { min: 0, max: Number.MAX_SAFE_INTEGER };
		const stdoutOffset = checkInteger("stdoutOffset", options.stdoutOffset ?? 0, range);
		const stderrOffset = checkInteger("stderrOffset", options.stderrOffset ?? 0, range);
		return this.#openProcess(
			id,
			(link) => new AgentProcess(id, link, { windowBytes, stdoutOffset, stderrOffset }),
			(channel) =>
				new FrameWriter(REQUEST.attach, channel)
					.u64(stdoutOffset)
					.u64(stderrOffset)
					.u32(windowBytes)
					.text("the process id", id)
					.finish(),
		);
	}

	/** All that the agent keeps, in order of start. */
	async list(): Promise<ProcessStatus[]> {
		const listed: ProcessStatus[] = [];
		await this.#request(
			"list processes",
			(channel) => new FrameWriter(REQUEST.list, channel).finish(),
			(type, payload) => {
				if (type === REPLY.done) {
					payload.finish();
					return true;
				}
				if (type !== REPLY.process) throw toViolation(`a frame of type ${type} in a listing`);
				if (listed.push(parseProcessStatus(payload)) > MAX_LISTED) throw toViolation("a listing without end");
				return false;
			},
		);
		return listed;
	}

	/** AgentError ENOENT: no such process; ESRCH: it has exited. */
	async signal(id: string, signalNumber: number, scope: "process" | "group"): Promise<void> {
		checkInteger("the signal", signalNumber, { min: 0, max: 64 });
		await this.#requestOk(`signal process ${id}`, (channel) =>
			new FrameWriter(REQUEST.signal, channel)
				.u32(signalNumber)
				.u8(scope === "group" ? 1 : 0)
				.text("the process id", checkProcessId(id))
				.finish(),
		);
	}

	/** AgentError ENOTTY: the process has no terminal. */
	async resize(id: string, size: TerminalSize): Promise<void> {
		const { columns, rows } = checkTerminalSize(size);
		await this.#requestOk(`resize the terminal of process ${id}`, (channel) =>
			new FrameWriter(REQUEST.resize, channel)
				.u16(columns)
				.u16(rows)
				.text("the process id", checkProcessId(id))
				.finish(),
		);
	}

	/** Drops what is kept of a process that has exited. AgentError EBUSY: it runs, or is being read. */
	async forget(id: string): Promise<void> {
		await this.#requestOk(`forget process ${id}`, (channel) =>
			new FrameWriter(REQUEST.forget, channel).text("the process id", checkProcessId(id)).finish(),
		);
	}

	/** Processes go on. May be repeated. */
	close(): void {
		if (this.#failure) return;
		this.#closed.resolve(undefined);
		this.#fail(new AgentError("the connection to the agent was closed here"));
	}

	#fail(error: AgentError): void {
		if (this.#failure) return;
		this.#failure = error;
		this.#greeted.reject(error);
		this.#closed.resolve(error);
		this.#stream.destroy();
		const waiting = [...this.#channels.values()];
		this.#channels.clear();
		for (const channel of waiting) channel.fail(error);
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
		if (this.#stream.writableLength > MAX_UNSENT_BYTES) this.#fail(new AgentError("the agent does not read"));
	}

	#onData(chunk: Buffer): void {
		if (this.#failure) return;
		try {
			for (const frame of this.#decoder.decode(chunk)) {
				this.#dispatch(frame);
				if (this.#failure) return;
			}
		} catch (cause) {
			this.#fail(
				cause instanceof AgentError ? cause : new AgentError("a frame could not be handled", { cause }),
			);
		}
	}

	#dispatch({ type, channel, payload }: Frame): void {
		if (!this.#isGreeted) {
			this.#onHello(type, channel, payload);
			return;
		}
		const receiver = this.#channels.get(channel);
		if (!receiver) throw toViolation(`a frame of type ${type} on channel ${channel}, which is not open`);
		receiver.receive(type, payload);
	}

	#onHello(type: number, channel: number, payload: PayloadReader): void {
		if (type !== REPLY.hello || channel !== 0) throw toViolation("no hello");
		const version = payload.takeU16();
		const maxPayloadBytes = payload.takeU32();
		const build = payload.takeText(256);
		payload.finish();
		if (version !== PROTOCOL_VERSION) {
			const message = `the agent speaks version ${version} of the protocol, not ${PROTOCOL_VERSION}`;
			throw new AgentVersionError(message);
		}
		if (maxPayloadBytes !== MAX_PAYLOAD_BYTES) throw toViolation("another frame size");
		this.#build = build;
		this.#isGreeted = true;
		this.#greeted.resolve();
	}

	#openChannel(): ChannelLink {
		if (this.#failure) throw this.#failure;
		if (this.#channels.size >= MAX_CHANNELS) {
			throw new ShaleError("unavailable", `the agent has ${MAX_CHANNELS} unanswered requests`);
		}
		do this.#lastChannel = this.#lastChannel === CHANNEL_MAX ? 1 : this.#lastChannel + 1;
		while (this.#channels.has(this.#lastChannel));
		const channel = this.#lastChannel;
		return {
			channel,
			send: (frame) => this.#send(frame),
			release: () => this.#channels.delete(channel),
			abandon: () => this.#abandon(channel),
		};
	}

	/** Frames that were under way may still come; the agent's OK is the last. */
	#abandon(channel: number): void {
		this.#channels.set(channel, {
			receive: (type) => {
				if (type === REPLY.ok) this.#channels.delete(channel);
			},
			fail: () => {},
		});
		this.#send(new FrameWriter(REQUEST.detach, channel).finish());
	}

	async #openProcess(
		id: string,
		create: (link: ChannelLink) => AgentProcess,
		encode: (channel: number) => Buffer,
	): Promise<AgentProcess> {
		const link = this.#openChannel();
		const frame = encode(link.channel);
		const started = create(link);
		this.#channels.set(link.channel, started);
		this.#send(frame);
		const timer = setTimeout(() => {
			link.abandon();
			started.fail(this.#toTimeout(`process ${id}`));
		}, this.#requestTimeoutMs);
		try {
			await started.started;
			return started;
		} finally {
			clearTimeout(timer);
		}
	}

	#toTimeout(subject: string): AgentError {
		return new AgentError(`${subject}: the agent did not answer within ${this.#requestTimeoutMs} ms`, {
			errnoName: "ETIMEDOUT",
		});
	}

	async #requestOk(subject: string, encode: (channel: number) => Buffer): Promise<void> {
		await this.#request(subject, encode, (type, payload) => {
			if (type !== REPLY.ok) throw toViolation(`a frame of type ${type} in answer to a request`);
			payload.finish();
			return true;
		});
	}

	/** Sends one request; `onReply` says when the answer is complete. An ERROR rejects. */
	async #request(
		subject: string,
		encode: (channel: number) => Buffer,
		onReply: (type: number, payload: PayloadReader) => boolean,
	): Promise<void> {
		const link = this.#openChannel();
		const frame = encode(link.channel);
		const answered = Promise.withResolvers<void>();
		this.#channels.set(link.channel, {
			receive: (type, payload) => {
				if (type === REPLY.error) {
					link.release();
					answered.reject(parseError(payload, subject));
				} else if (onReply(type, payload)) {
					link.release();
					answered.resolve();
				}
			},
			fail: answered.reject,
		});
		this.#send(frame);
		// The channel stays open for the late answer, which then goes nowhere.
		const timer = setTimeout(() => answered.reject(this.#toTimeout(subject)), this.#requestTimeoutMs);
		try {
			await answered.promise;
		} finally {
			clearTimeout(timer);
		}
	}
}
