/**
 * The client of one agent, over whatever byte stream its backend hands over: processes, their readers and their stdin.
 * Nothing here waits for ever: requests have a deadline, and all that waits fails when the connection ends. Processes in the
 * sandbox go on; attach to them again.
 */

import type { Duplex } from "node:stream";
import { toViolation } from "./agent-error.ts";
import { type ChannelLink, Channels } from "./channels.ts";
import { startDeadline } from "./deadline.ts";
import { FrameWriter, REPLY, REQUEST } from "./frames.ts";
import { AgentProcess } from "./process.ts";
import { ProcessInput } from "./process-input.ts";
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
import { AgentTunnel, TUNNEL_WINDOW_BYTES } from "./tunnel.ts";

export type { ProcessExit } from "./process-status.ts";
export type { ProcessStatus, StartProcess, TerminalSize };

export interface OpenOptions {
	/** For the hello; default 5 s. */
	readonly timeoutMs?: number;
	/** For each request, later; default 10 s. */
	readonly requestTimeoutMs?: number;
}

export interface AttachOptions {
	/** Where the reading begins; default 0. What is no longer kept is skipped: {@link AgentProcess.from} tells. */
	readonly stdoutOffset?: number;
	readonly stderrOffset?: number;
	readonly windowBytes?: number;
	/** Whether the process waits for this reader. Otherwise one that falls behind by more than the ring loses output. */
	readonly hold?: boolean;
}

const MAX_LISTED = 65_536;
const FLAG_HOLD = 1;

export class AgentConnection {
	/** With what went wrong; undefined after `close()`. Never rejects. */
	readonly closed: Promise<Error | undefined>;
	/** Resolves when the agent has said that it speaks our protocol; rejects with AgentError. */
	readonly greeted: Promise<void>;

	readonly #channels: Channels;
	/** By process id: the stdins that have a channel, or somebody who writes. */
	readonly #inputs = new Map<string, ProcessInput>();

	private constructor(channels: Channels) {
		this.#channels = channels;
		this.closed = channels.closed;
		this.greeted = channels.greeted;
	}

	/**
	 * Takes over the stream, which may still be connecting, and greets the agent. Requests need not wait for its
	 * greeting: they fail, like {@link greeted}, when none comes or when it is not one of ours.
	 */
	static open(stream: Duplex, options: OpenOptions = {}): AgentConnection {
		return new AgentConnection(new Channels(stream, options));
	}

	/** What the agent says it is; for logs only. */
	get build(): string {
		return this.#channels.build;
	}

	/**
	 * Starts a process and reads its output from the beginning; it waits for this reader. A program that cannot be executed
	 * is a process that exits with 126 or 127. AgentError EEXIST: the id is taken; ENOENT: no such user.
	 */
	async start(spec: StartProcess): Promise<AgentProcess> {
		const windowBytes = checkWindow(spec.windowBytes);
		const isAttached = spec.attach ?? true;
		const input = spec.stdin && isAttached ? this.#createInput(spec.id) : undefined;
		const started = await this.#openProcess(
			spec.id,
			(link) => {
				input?.shareChannel(link);
				return new AgentProcess(spec.id, link, { windowBytes, isAttached, input });
			},
			(channel) => encodeStart(channel, spec),
		);
		if (input && !input.hasEnded) this.#inputs.set(spec.id, input);
		return started;
	}

	/** Reads a process that was started before, also one that has exited. AgentError EAGAIN: it has 16 readers. */
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
					.u32(options.hold ? FLAG_HOLD : 0)
					.u64(stdoutOffset)
					.u64(stderrOffset)
					.u32(windowBytes)
					.text("the process id", id)
					.finish(),
		);
	}

	/**
	 * Writes to a process, whoever reads it. Resolves when the agent has granted room for all of it, so the caller is as slow
	 * as the process; the chunk may be used again then. The chunks of several writers come one after the other.
	 * AgentError EPIPE: its stdin is closed, or it was started without; ENOENT: no such process.
	 */
	writeStdin(id: string, chunk: Uint8Array): Promise<void> {
		return this.#getInput(id).write(chunk);
	}

	/** Whether somebody writes to it through this connection, or has begun to. */
	isWriting(id: string): boolean {
		return this.#inputs.has(id);
	}

	/** After what was written; a terminal gets its end-of-file character. May be repeated. */
	closeStdin(id: string): Promise<void> {
		return this.#getInput(id).close();
	}

	/** All that the agent keeps, in order of start. */
	async list(): Promise<ProcessStatus[]> {
		const listed: ProcessStatus[] = [];
		await this.#channels.request(
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
		await this.#channels.requestOk(`signal process ${id}`, (channel) =>
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
		await this.#channels.requestOk(`resize the terminal of process ${id}`, (channel) =>
			new FrameWriter(REQUEST.resize, channel)
				.u16(columns)
				.u16(rows)
				.text("the process id", checkProcessId(id))
				.finish(),
		);
	}

	/** Drops what is kept of a process that has exited. AgentError EBUSY: it runs, or is being read. */
	async forget(id: string): Promise<void> {
		await this.#channels.requestOk(`forget process ${id}`, (channel) =>
			new FrameWriter(REQUEST.forget, channel).text("the process id", checkProcessId(id)).finish(),
		);
	}

	/**
	 * Opens a tunnel by the request that `encode` puts together. Nothing is awaited: a refusal is the tunnel's end.
	 * Close it when it is not read to its end.
	 */
	openTunnel(subject: string, encode: (channel: number, windowBytes: number) => Buffer): AgentTunnel {
		const link = this.#channels.open();
		const frame = encode(link.channel, TUNNEL_WINDOW_BYTES);
		const tunnel = new AgentTunnel(subject, link);
		link.listen(tunnel);
		link.send(frame);
		return tunnel;
	}

	/** Processes go on. May be repeated. */
	close(): void {
		this.#channels.close();
	}

	#getInput(id: string): ProcessInput {
		const open = this.#inputs.get(checkProcessId(id));
		if (open) return open;
		const input = this.#createInput(id);
		this.#inputs.set(id, input);
		return input;
	}

	#createInput(id: string): ProcessInput {
		return new ProcessInput(id, {
			open: () => this.#channels.open(),
			timeoutMs: this.#channels.requestTimeoutMs,
			onEnd: (input) => {
				if (this.#inputs.get(id) === input) this.#inputs.delete(id);
			},
		});
	}

	async #openProcess(
		id: string,
		create: (link: ChannelLink) => AgentProcess,
		encode: (channel: number) => Buffer,
	): Promise<AgentProcess> {
		const link = this.#channels.open();
		const frame = encode(link.channel);
		const started = create(link);
		link.listen(started);
		link.send(frame);
		const cancel = startDeadline(this.#channels.requestTimeoutMs, () => {
			link.abandon();
			started.fail(this.#channels.toTimeout(`process ${id}`));
		});
		try {
			await started.started;
			return started;
		} finally {
			cancel();
		}
	}
}
