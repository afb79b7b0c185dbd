/** A process over one WebSocket: its output out, the client's stdin, signals and sizes in, until one of the two ends. */
import type { WebSocket } from "ws";
import { ShaleError, toShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { OutputChunk, Sandboxes } from "../sandbox/types.ts";
import type { AttachedProcess } from "./attached-process.ts";
import { toErrorEvent } from "./event-stream.ts";
import { InteractiveSocket } from "./interactive-socket.ts";
import { OutputGaps } from "./output-gaps.ts";
import { type InteractiveMessage, interactiveMessage } from "./schemas/processes.ts";
import { parseInput } from "./validation.ts";

/** A client that upgrades and then says nothing. */
const FIRST_MESSAGE_MS = 10_000;

/**
 * The agent takes so much of stdin ahead of the program (native/README.md). What was written before the last so many
 * bytes is there for sure; the rest may still be on its way, and be lost with this daemon.
 */
const STDIN_WINDOW_BYTES = 64 * 1024;

/** That stdin has arrived is told after every so many bytes. */
const STDIN_TOLD_BYTES = 32 * 1024;

/** RFC 6455 §7.4.1, and the registry of close codes for 1012. */
const CLOSE_NORMAL = 1000;
const CLOSE_POLICY = 1008;
const CLOSE_INTERNAL = 1011;
const CLOSE_RESTART = 1012;

/** The process of a session, and how its client writes to it. */
export interface SessionProcess {
	readonly attached: AttachedProcess;
	/** Undefined when the client may not write. */
	readonly stdin: SessionStdin | undefined;
}

export interface SessionStdin {
	/** Of the next byte. */
	readonly offset: number;
	write(data: Buffer): Promise<void>;
	close(): Promise<void> | void;
}

export interface SessionOptions {
	readonly sandboxes: Sandboxes;
	readonly sandboxId: string;
	readonly log: Log;
	/** True: the client's first message is the request. */
	readonly awaitsRequest: boolean;
	/** Throws ShaleError. */
	open(request: unknown): Promise<SessionProcess>;
}

export class InteractiveSession {
	readonly #socket: InteractiveSocket;
	readonly #options: SessionOptions;
	readonly #deadline: NodeJS.Timeout;
	#state: "opening" | "open" | "over" = "opening";
	/** What a client sends ahead waits for it. */
	#opened: Promise<SessionProcess> | undefined;
	#process: SessionProcess | undefined;
	/** Stdin keeps its order; signals and sizes overtake it. */
	#stdin: Promise<unknown> = Promise.resolve();
	#stdinOffset = 0;
	#stdinTold = 0;

	constructor(socket: WebSocket, options: SessionOptions) {
		this.#options = options;
		this.#deadline = setTimeout(() => {
			if (this.#state === "opening")
				this.#fail(new ShaleError("timeout", "no exec request came as first message"));
		}, FIRST_MESSAGE_MS);
		this.#socket = new InteractiveSocket(socket, options.log, {
			onMessage: (data, isBinary) => this.#receive(data, isBinary),
			onClose: () => this.#end(),
		});
		if (!options.awaitsRequest) this.#open(undefined).catch((error: unknown) => this.#fail(error));
	}

	/** The daemon stops: the client may come back to the next one. */
	restart(): void {
		if (this.#state === "over") return;
		this.#end();
		this.#socket.close(CLOSE_RESTART);
	}

	async #receive(data: Buffer, isBinary: boolean): Promise<void> {
		if (this.#state === "over") return;
		try {
			await this.#handle(data, isBinary);
		} catch (error) {
			this.#fail(error);
		}
	}

	async #handle(data: Buffer, isBinary: boolean): Promise<void> {
		if (!this.#opened) {
			if (isBinary)
				throw new ShaleError("invalid_argument", "the first message must be the exec request, as text");
			await this.#open(parseJson(data));
			return;
		}
		if (isBinary) return this.#queueStdin(data);
		const message = parseInput(interactiveMessage, parseJson(data));
		if (message.type === "stdin_close") return this.#queueStdin(undefined);
		await this.#control(message);
	}

	#open(request: unknown): Promise<SessionProcess> {
		this.#state = "open";
		this.#opened = this.#start(request);
		this.#stdin = this.#opened.catch(() => undefined);
		return this.#opened;
	}

	async #start(request: unknown): Promise<SessionProcess> {
		const process = await this.#options.open(request);
		this.#process = process;
		if (this.#isOver()) process.attached.leave();
		else void this.#tell(process).catch((error: unknown) => this.#fail(error));
		return process;
	}

	#isOver(): boolean {
		return this.#state === "over";
	}

	async #tell({ attached, stdin }: SessionProcess): Promise<void> {
		const { id, guestPid } = attached.process;
		this.#stdinOffset = this.#stdinTold = stdin?.offset ?? 0;
		await this.#socket.sendEvent({
			type: "started",
			processId: id,
			guestPid,
			...(stdin ? { stdinOffset: stdin.offset } : {}),
		});
		const gaps = new OutputGaps(attached.expected);
		for (let chunk = await attached.next(); chunk; chunk = await attached.next()) {
			if (this.#isOver()) return;
			const gap = gaps.before(chunk);
			if (gap) await this.#socket.sendEvent(gap);
			await this.#socket.send(toMessage(chunk));
			if (this.#isOver()) return;
		}
		if (this.#isOver()) return;
		const exit = await attached.finish();
		if (this.#isOver()) return;
		this.#state = "over";
		await this.#socket.sendEvent({ type: "exit", ...exit });
		this.#socket.close(CLOSE_NORMAL);
	}

	async #control(message: Exclude<InteractiveMessage, { readonly type: "stdin_close" }>): Promise<void> {
		const process = await this.#opened;
		if (this.#isOver() || !process) return;
		const { sandboxes, sandboxId } = this.#options;
		const { id } = process.attached.process;
		try {
			if (message.type === "signal") {
				await sandboxes.signalProcess(sandboxId, id, { signal: message.signal, group: true });
			} else {
				await sandboxes.resizeTerminal(sandboxId, id, { columns: message.columns, rows: message.rows });
			}
		} catch (error) {
			// It has ended meanwhile: its exit tells.
			if (!["not_found", "conflict"].includes(toShaleError(error).code)) throw error;
		}
	}

	/** @param data undefined closes. */
	#queueStdin(data: Buffer | undefined): Promise<void> {
		const written = this.#stdin.then(() => this.#writeStdin(data));
		this.#stdin = written.catch(() => undefined);
		return written;
	}

	async #writeStdin(data: Buffer | undefined): Promise<void> {
		if (this.#isOver() || !this.#process) return;
		const { stdin } = this.#process;
		if (!stdin) {
			throw new ShaleError("invalid_argument", "this connection has no stdin", {
				hint: 'Ask for it: "stdin": true in an exec request, ?stdin=true when attaching.',
			});
		}
		try {
			if (data) await stdin.write(data);
			else await stdin.close();
		} catch (error) {
			// The program has closed it or has ended, which its exit tells; what is left for it is nobody's.
			if (!["not_found", "conflict", "gone"].includes(toShaleError(error).code)) throw error;
		}
		if (data) await this.#tellWritten(data.length);
	}

	async #tellWritten(bytes: number): Promise<void> {
		this.#stdinOffset += bytes;
		const arrived = this.#stdinOffset - STDIN_WINDOW_BYTES;
		if (arrived - this.#stdinTold < STDIN_TOLD_BYTES || this.#isOver()) return;
		this.#stdinTold = arrived;
		await this.#socket.sendEvent({ type: "stdin", offset: arrived });
	}

	/** Tells the client why, once, and ends. A client that is gone is told nothing. */
	#fail(error: unknown): void {
		if (this.#isOver()) return;
		if (!this.#socket.isOpen) {
			this.#end();
			return;
		}
		const event = toErrorEvent(error, this.#options.log, `a WebSocket to sandbox ${this.#options.sandboxId}`);
		this.#socket.sendEvent(event).catch(() => undefined);
		this.#end();
		this.#socket.close(event.code === "internal" ? CLOSE_INTERNAL : CLOSE_POLICY);
	}

	#end(): void {
		clearTimeout(this.#deadline);
		this.#state = "over";
		this.#process?.attached.leave();
	}
}

/** 1 byte stream, 8 bytes offset (big endian), the bytes. */
function toMessage({ stream, offset, data }: OutputChunk): Buffer {
	const message = Buffer.allocUnsafe(9 + data.length);
	message.writeUInt8(stream === "stdout" ? 1 : 2, 0);
	message.writeBigUInt64BE(BigInt(offset), 1);
	data.copy(message, 9);
	return message;
}

/** ws has checked that text is UTF-8. */
function parseJson(data: Buffer): unknown {
	try {
		return JSON.parse(data.toString("utf8"));
	} catch {
		throw new ShaleError("invalid_argument", "the message is not JSON");
	}
}
