/**
 * One reader of a process in a sandbox, through one channel of a connection. Output is limited by credit: the agent sends a window of
 * bytes, and more only as `output()` is consumed, so a reader that is slow, or none at all, costs one window of memory
 * here; there it makes the process wait, if it holds, and otherwise loses output.
 */

import { AgentError, parseError, toViolation } from "./agent-error.ts";
import type { ChannelLink } from "./channels.ts";
import { FrameWriter, type PayloadReader, REPLY, REQUEST } from "./frames.ts";
import { type OutputChunk, OutputQueue, type StreamName } from "./output-queue.ts";
import { type ProcessInput, toPipeError } from "./process-input.ts";
import { type ProcessExit, parseExit } from "./process-status.ts";

export interface ProcessOptions {
	readonly windowBytes: number;
	/** False: the channel is only for the answer to the start. */
	readonly isAttached?: boolean;
	/** The agent was asked to begin there. */
	readonly stdoutOffset?: number;
	readonly stderrOffset?: number;
	/** The process's stdin, when this channel writes to it too. */
	readonly input?: ProcessInput | undefined;
}

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
	readonly #input: ProcessInput | undefined;
	readonly #started = Promise.withResolvers<void>();
	readonly #exited = Promise.withResolvers<ProcessExit>();
	#guestPid = 0;
	#from = { stdoutOffset: 0, stderrOffset: 0 };
	#ending: { readonly error?: AgentError } | undefined;

	readonly #queue = new OutputQueue();
	readonly #nextOffset: Record<StreamName, number>;
	#credit: number;
	#consumedBytes = 0;
	#isReading = false;
	#wakeReader: (() => void) | undefined;

	constructor(id: string, link: ChannelLink, options: ProcessOptions) {
		this.id = id;
		this.#link = link;
		this.#windowBytes = this.#credit = options.windowBytes;
		this.#isAttached = options.isAttached ?? true;
		this.#input = options.input;
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

	/** Of the first bytes that are read: those that were asked for, or the oldest that were still kept. */
	get from(): { readonly stdoutOffset: number; readonly stderrOffset: number } {
		return this.#from;
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

	/** Gives the output up; the process goes on, and can be attached to again. `output()` ends, `exited` rejects. */
	detach(): void {
		if (this.#ending) return;
		this.#link.abandon();
		this.#input?.loseChannel();
		this.#endWithoutReader();
	}

	/** For the connection: a frame of this process's channel. */
	receive(type: number, payload: PayloadReader): void {
		if (type === REPLY.output) this.#onOutput(payload);
		else if (type === REPLY.started) this.#onStarted(payload);
		else if (type === REPLY.exit) this.#onExit(payload);
		else if (type === REPLY.stdinCredit && this.#input) this.#input.onCredit(payload);
		else if (type === REPLY.error) this.#onError(payload);
		else throw toViolation(`a frame of type ${type} on the channel of a process`);
	}

	/** For the connection: nothing more will come. What has come can still be read. */
	fail(error: AgentError): void {
		this.#input?.end(error);
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
		this.#wakeReader?.();
	}

	#onStarted(payload: PayloadReader): void {
		const guestPid = payload.takeU32();
		const from = { stdoutOffset: payload.takeU64(), stderrOffset: payload.takeU64() };
		payload.finish();
		const { stdout, stderr } = this.#nextOffset;
		if (guestPid === 0 || this.#guestPid !== 0)
			throw toViolation("a process that started twice, or without a pid");
		if (from.stdoutOffset < stdout || from.stderrOffset < stderr)
			throw toViolation("output from before what was asked for");
		this.#guestPid = guestPid;
		this.#from = from;
		this.#nextOffset.stdout = from.stdoutOffset;
		this.#nextOffset.stderr = from.stderrOffset;
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
		this.#input?.end(toPipeError(this.id));
		this.#exited.resolve(exit);
		this.#end({});
	}

	#onError(payload: PayloadReader): void {
		const error = parseError(payload, `process ${this.id}`);
		this.#link.release();
		this.fail(error);
	}

	#consume(bytes: number): void {
		this.#consumedBytes += bytes;
		// Half a window at a time: few frames, and the agent always has something to go on with.
		if (this.#ending || this.#consumedBytes < this.#windowBytes / 2) return;
		this.#link.send(new FrameWriter(REQUEST.credit, this.#link.channel).u32(this.#consumedBytes).finish());
		this.#credit += this.#consumedBytes;
		this.#consumedBytes = 0;
	}
}
