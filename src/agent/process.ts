/**
 * A process in a sandbox, read through one channel of a connection. Output is limited by credit: the agent sends a window of
 * bytes, and more only as `output()` is consumed, so a reader that is slow, or none at all, costs one window of memory
 * here, and makes the process wait there.
 */

import { AgentError, toErrnoName, toViolation } from "./agent-error.ts";
import { FrameWriter, type PayloadReader, REPLY, REQUEST } from "./frames.ts";
import { type OutputChunk, OutputQueue, type StreamName } from "./output-queue.ts";
import { type ProcessExit, parseExit } from "./process-status.ts";

/** What a channel may do with the connection it is on. */
export interface ChannelLink {
	readonly channel: number;
	send(frame: Buffer): void;
	/** The channel is over: nothing more comes for it. */
	release(): void;
	/** The reader is gone, and the agent is told so; what still comes for the channel is dropped. */
	abandon(): void;
}

export interface ProcessOptions {
	readonly windowBytes: number;
	/** False: the channel is only for the answer to the start. */
	readonly isAttached?: boolean;
	/** Of the first bytes that the agent was asked for. */
	readonly stdoutOffset?: number;
	readonly stderrOffset?: number;
}

/** Frames of stdin; several fit into what the agent grants. */
const STDIN_FRAME_BYTES = 32 * 1024;
/** The agent's window is 64 KiB; one that grants far more is not counting. */
const MAX_STDIN_CREDIT = 2 ** 24;

const STREAMS: readonly (StreamName | undefined)[] = [undefined, "stdout", "stderr"];

export class AgentProcess {
	readonly id: string;
	/** After all output was handed to `output()`. Rejects when the connection is lost or the process is detached. */
	readonly exited: Promise<ProcessExit>;
	/** When the agent has answered. Used by the connection, which hands out only processes that have started. */
	readonly started: Promise<void>;

	readonly #link: ChannelLink;
	readonly #windowBytes: number;
	readonly #isAttached: boolean;
	readonly #started = Promise.withResolvers<void>();
	readonly #exited = Promise.withResolvers<ProcessExit>();
	#guestPid = 0;
	#ending: { readonly error?: AgentError } | undefined;

	readonly #queue = new OutputQueue();
	readonly #nextOffset: Record<StreamName, number>;
	#credit: number;
	#consumedBytes = 0;
	#isReading = false;
	#wakeReader: (() => void) | undefined;

	#stdin: "closed" | "open" | "closing" = "closed";
	#stdinCredit = 0;
	#lastWrite: Promise<void> = Promise.resolve();
	#wakeWriter: (() => void) | undefined;

	constructor(id: string, link: ChannelLink, options: ProcessOptions) {
		this.id = id;
		this.#link = link;
		this.#windowBytes = this.#credit = options.windowBytes;
		this.#isAttached = options.isAttached ?? true;
		this.#nextOffset = { stdout: options.stdoutOffset ?? 0, stderr: options.stderrOffset ?? 0 };
		this.started = this.#started.promise;
		this.exited = this.#exited.promise;
		// Whoever is interested has a handler of its own; nobody being interested is not a fault.
		this.started.catch(() => {});
		this.exited.catch(() => {});
	}

	/** The pid in the sandbox's pid namespace. */
	get guestPid(): number {
		return this.#guestPid;
	}

	/**
	 * The output as it comes, until the process has exited; throws when the connection is lost. A chunk counts as consumed
	 * when the next one is asked for. One reader at a time; leaving the loop stops the consumption, and a later call goes on.
	 */
	async *output(): AsyncGenerator<OutputChunk, void, undefined> {
		if (this.#isReading) throw new AgentError(`the output of process ${this.id} is being read already`);
		this.#isReading = true;
		try {
			for (;;) {
				const chunk = this.#queue.shift();
				if (chunk) {
					try {
						yield chunk;
					} finally {
						this.#consume(chunk.data.length); // also when the loop is left here
					}
				} else if (this.#ending) {
					if (this.#ending.error) throw this.#ending.error;
					return;
				} else {
					await new Promise<void>((resolve) => {
						this.#wakeReader = resolve;
					});
				}
			}
		} finally {
			this.#isReading = false;
		}
	}

	/**
	 * Resolves when the agent has granted room for all of it, so the caller is as slow as the process. The chunk may be used
	 * again then. Rejects with errnoName EPIPE when stdin is closed or the process is gone. Writes keep their order.
	 */
	writeStdin(chunk: Uint8Array): Promise<void> {
		if (this.#stdin !== "open") return Promise.reject(this.#toPipeError());
		const written = this.#lastWrite.then(() => this.#writeAll(chunk));
		this.#lastWrite = written.catch(() => {});
		return written;
	}

	/** After what was written; a terminal gets its end-of-file character. May be repeated. */
	closeStdin(): void {
		if (this.#stdin !== "open") return;
		this.#stdin = "closing";
		this.#lastWrite = this.#lastWrite.then(() => {
			if (!this.#ending) this.#link.send(new FrameWriter(REQUEST.stdinClose, this.#link.channel).finish());
			this.#stdin = "closed";
		});
	}

	/** Gives the output up; the process goes on, and can be attached to again. `output()` ends, `exited` rejects. */
	detach(): void {
		if (this.#ending) return;
		this.#link.abandon();
		this.#endWithoutReader();
	}

	/** For the connection: a frame of this process's channel. */
	receive(type: number, payload: PayloadReader): void {
		if (type === REPLY.output) this.#onOutput(payload);
		else if (type === REPLY.started) this.#onStarted(payload);
		else if (type === REPLY.exit) this.#onExit(payload);
		else if (type === REPLY.stdinCredit) this.#onStdinCredit(payload);
		else if (type === REPLY.error) this.#onError(payload);
		else throw toViolation(`a frame of type ${type} on the channel of a process`);
	}

	/** For the connection: nothing more will come. What has come can still be read. */
	fail(error: AgentError): void {
		this.#started.reject(error);
		this.#exited.reject(error);
		this.#end({ error });
	}

	#endWithoutReader(): void {
		this.#queue.clear();
		this.#exited.reject(
			new AgentError(`the exit of process ${this.id} is not waited for: it has no reader here`),
		);
		this.#end({});
	}

	#end(ending: { readonly error?: AgentError }): void {
		this.#ending ??= ending;
		this.#stdin = "closed";
		this.#wakeReader?.();
		this.#wakeWriter?.();
	}

	#onStarted(payload: PayloadReader): void {
		const guestPid = payload.takeU32();
		payload.finish();
		if (guestPid === 0 || this.#guestPid !== 0)
			throw toViolation("a process that started twice, or without a pid");
		this.#guestPid = guestPid;
		this.#started.resolve();
		if (this.#isAttached) return;
		this.#link.release();
		this.#endWithoutReader();
	}

	#onOutput(payload: PayloadReader): void {
		const stream = STREAMS[payload.takeU8()];
		const offset = payload.takeU64();
		const data = payload.takeRest();
		if (!stream || this.#guestPid === 0) throw toViolation("output of no stream");
		if (offset < this.#nextOffset[stream]) throw toViolation("output that goes back");
		if (data.length === 0 || data.length > this.#credit) throw toViolation("output beyond the credit");
		this.#credit -= data.length;
		this.#nextOffset[stream] = offset + data.length;
		this.#queue.push({ stream, offset, data });
		this.#wakeReader?.();
	}

	#onExit(payload: PayloadReader): void {
		const exit = parseExit(payload);
		const { stdout, stderr } = this.#nextOffset;
		if (this.#guestPid === 0 || exit.stdoutEnd < stdout || exit.stderrEnd < stderr) {
			throw toViolation("an exit before the end of the output");
		}
		this.#link.release();
		this.#exited.resolve(exit);
		this.#end({});
	}

	#onError(payload: PayloadReader): void {
		const error = parseError(payload, `process ${this.id}`);
		this.#link.release();
		this.fail(error);
	}

	#onStdinCredit(payload: PayloadReader): void {
		const bytes = payload.takeU32();
		payload.finish();
		// The first one comes before STARTED, and says that there is a stdin.
		if (this.#guestPid === 0) this.#stdin = "open";
		this.#stdinCredit += bytes;
		if (this.#stdinCredit > MAX_STDIN_CREDIT) throw toViolation("more stdin than anybody could want");
		this.#wakeWriter?.();
	}

	#consume(bytes: number): void {
		this.#consumedBytes += bytes;
		// Half a window at a time: few frames, and the agent always has something to go on with.
		if (this.#ending || this.#consumedBytes < this.#windowBytes / 2) return;
		this.#link.send(new FrameWriter(REQUEST.credit, this.#link.channel).u32(this.#consumedBytes).finish());
		this.#credit += this.#consumedBytes;
		this.#consumedBytes = 0;
	}

	#toPipeError(): AgentError {
		return new AgentError(`write to the stdin of process ${this.id}: it is closed`, { errnoName: "EPIPE" });
	}

	async #writeAll(chunk: Uint8Array): Promise<void> {
		for (let at = 0; at < chunk.length; ) {
			if (this.#ending) throw this.#toPipeError();
			if (this.#stdinCredit === 0) {
				await new Promise<void>((resolve) => {
					this.#wakeWriter = resolve;
				});
				continue;
			}
			const piece = chunk.subarray(at, at + Math.min(this.#stdinCredit, STDIN_FRAME_BYTES));
			this.#link.send(new FrameWriter(REQUEST.stdin, this.#link.channel).bytes(piece).finish());
			this.#stdinCredit -= piece.length;
			at += piece.length;
		}
	}
}

/** An ERROR frame as an error whose message begins with what it is about. */
export function parseError(payload: PayloadReader, subject: string): AgentError {
	const errnoName = toErrnoName(payload.takeU32());
	const message = payload.takeText(1024);
	payload.finish();
	return new AgentError(`${subject}: ${message} (${errnoName})`, { errnoName });
}
