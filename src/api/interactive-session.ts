/**
 * One exec over one WebSocket. Both directions have back-pressure: the next output is read when the last message is
 * in the kernel's hands, and the socket is not read while stdin waits for the program.
 */
import type { RawData, WebSocket } from "ws";
import { ShaleError, toShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { OutputChunk, Sandboxes } from "../sandbox/types.ts";
import { toErrorEvent } from "./event-stream.ts";
import { ForegroundProcess } from "./foreground-process.ts";
import {
	type InteractiveMessage,
	interactiveExecRequest,
	interactiveMessage,
	type ProcessEvent,
} from "./schemas/processes.ts";
import { parseInput } from "./validation.ts";

/** A client that upgrades and then says nothing. */
const FIRST_MESSAGE_MS = 10_000;

/** Of messages that are not dealt with yet; beyond, the socket is not read. */
const WAITING_BYTES = 256 * 1024;

/** What a message costs beside its bytes, so that floods of small ones are bounded too. */
const MESSAGE_COST_BYTES = 1024;

/** While the socket is not read only writing shows that the client is gone. */
const PAUSED_PING_MS = 2_000;

/** RFC 6455 §7.4.1. */
const CLOSE_NORMAL = 1000;
const CLOSE_POLICY = 1008;
const CLOSE_INTERNAL = 1011;

interface Owner {
	readonly sandboxes: Sandboxes;
	readonly sandboxId: string;
	readonly log: Log;
}

export class InteractiveSession {
	readonly #socket: WebSocket;
	readonly #owner: Owner;
	#foreground: ForegroundProcess | undefined;
	#state: "opening" | "started" | "over" = "opening";
	/** What a client sends ahead waits for it. */
	#started: Promise<ForegroundProcess> | undefined;
	#hasStdin = false;
	/** Stdin keeps its order; signals and sizes overtake it. */
	#stdin: Promise<unknown> = Promise.resolve();
	#waitingBytes = 0;
	#pausedPing: NodeJS.Timeout | undefined;

	constructor(socket: WebSocket, owner: Owner) {
		this.#socket = socket;
		this.#owner = owner;
	}

	run(): void {
		const deadline = setTimeout(() => {
			if (this.#state === "opening")
				this.#fail(new ShaleError("timeout", "no exec request came as first message"));
		}, FIRST_MESSAGE_MS);
		this.#socket.on("message", (data, isBinary) => this.#receive(toBuffer(data), isBinary));
		this.#socket.on("close", () => {
			clearTimeout(deadline);
			clearInterval(this.#pausedPing);
			this.#end();
		});
		// A protocol error or a broken connection; `close` follows.
		this.#socket.on("error", (error) => this.#owner.log.debug({ err: error }, "a WebSocket failed"));
	}

	#receive(data: Buffer, isBinary: boolean): void {
		if (this.#state === "over") return;
		const handled = this.#handle(data, isBinary).catch((error: unknown) => this.#fail(error));
		const cost = data.length + MESSAGE_COST_BYTES;
		this.#waitingBytes += cost;
		if (this.#waitingBytes > WAITING_BYTES) this.#pause();
		void handled.then(() => {
			this.#waitingBytes -= cost;
			if (this.#waitingBytes <= WAITING_BYTES) this.#resume();
		});
	}

	async #handle(data: Buffer, isBinary: boolean): Promise<void> {
		if (this.#state === "opening") {
			this.#state = "started";
			if (isBinary)
				throw new ShaleError("invalid_argument", "the first message must be the exec request, as text");
			this.#started = this.#start(parseJson(data));
			this.#stdin = this.#started.catch(() => undefined);
			await this.#started;
			return;
		}
		if (isBinary) return this.#queueStdin(data);
		const message = parseInput(interactiveMessage, parseJson(data));
		if (message.type === "stdin_close") return this.#queueStdin(undefined);
		await this.#control(message);
	}

	async #control(message: Exclude<InteractiveMessage, { readonly type: "stdin_close" }>): Promise<void> {
		const foreground = await this.#started;
		if (this.#isOver() || !foreground) return;
		const { sandboxes, sandboxId } = this.#owner;
		const { id } = foreground.process;
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

	async #start(value: unknown): Promise<ForegroundProcess> {
		const request = parseInput(interactiveExecRequest, value);
		this.#hasStdin = request.stdin ?? false;
		const { sandboxes, sandboxId } = this.#owner;
		const foreground = new ForegroundProcess(await sandboxes.start(sandboxId, request), this.#owner);
		this.#foreground = foreground;
		if (this.#isOver()) void foreground.abandon();
		else void this.#tell(foreground).catch((error: unknown) => this.#fail(error));
		return foreground;
	}

	#isOver(): boolean {
		return this.#state === "over";
	}

	async #tell(foreground: ForegroundProcess): Promise<void> {
		const { id, guestPid } = foreground.process;
		await this.#sendEvent({ type: "started", processId: id, guestPid });
		for (let chunk = await foreground.next(); chunk; chunk = await foreground.next()) {
			if (this.#isOver()) return;
			await this.#send(toMessage(chunk));
			if (this.#isOver()) return;
		}
		if (this.#isOver()) return;
		const exit = await foreground.finish();
		this.#state = "over";
		await this.#sendEvent({ type: "exit", ...exit });
		this.#close(CLOSE_NORMAL);
	}

	/** @param data undefined closes. */
	#queueStdin(data: Buffer | undefined): Promise<void> {
		if (!this.#hasStdin) {
			throw new ShaleError("invalid_argument", "the process has no stdin", {
				hint: 'Ask for it by "stdin": true in the exec request.',
			});
		}
		const written = this.#stdin.then(() => this.#writeStdin(data));
		this.#stdin = written.catch(() => undefined);
		return written;
	}

	async #writeStdin(data: Buffer | undefined): Promise<void> {
		const process = this.#foreground?.process;
		if (this.#isOver() || !process) return;
		try {
			if (data) await process.writeStdin(data);
			else process.closeStdin();
		} catch {
			// The program has closed it or has ended: its exit tells.
			return;
		}
	}

	#pause(): void {
		if (this.#socket.isPaused) return;
		this.#socket.pause();
		this.#pausedPing ??= setInterval(() => {
			if (this.#socket.bufferedAmount === 0) this.#socket.ping();
		}, PAUSED_PING_MS);
	}

	#resume(): void {
		clearInterval(this.#pausedPing);
		this.#pausedPing = undefined;
		this.#socket.resume();
	}

	#sendEvent(event: ProcessEvent): Promise<void> {
		return this.#send(JSON.stringify(event));
	}

	/** Resolves when the kernel has taken it: that is the back-pressure. Rejects when the connection is gone. */
	#send(data: string | Buffer): Promise<void> {
		return new Promise((resolve, reject) => {
			this.#socket.send(data, (error) => (error ? reject(error) : resolve()));
		});
	}

	/** Tells the client why, once, and ends. A client that is gone is told nothing. */
	#fail(error: unknown): void {
		if (this.#isOver()) return;
		if (this.#socket.readyState !== this.#socket.OPEN) {
			this.#end();
			return;
		}
		const event = toErrorEvent(error, this.#owner.log, `WebSocket exec in sandbox ${this.#owner.sandboxId}`);
		this.#socket.send(JSON.stringify(event));
		this.#end();
		this.#close(event.code === "internal" ? CLOSE_INTERNAL : CLOSE_POLICY);
	}

	/** The process belongs to the connection. */
	#end(): void {
		this.#state = "over";
		void this.#foreground?.abandon();
	}

	#close(code: number): void {
		// A paused socket would never see the client's half of the closing.
		this.#resume();
		this.#socket.close(code);
	}
}

function toMessage({ stream, offset, data }: OutputChunk): Buffer {
	const message = Buffer.allocUnsafe(9 + data.length);
	message.writeUInt8(stream === "stdout" ? 1 : 2, 0);
	message.writeBigUInt64BE(BigInt(offset), 1);
	data.copy(message, 9);
	return message;
}

function toBuffer(data: RawData): Buffer {
	if (Buffer.isBuffer(data)) return data;
	return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}

/** ws has checked that text is UTF-8. */
function parseJson(data: Buffer): unknown {
	try {
		return JSON.parse(data.toString("utf8"));
	} catch {
		throw new ShaleError("invalid_argument", "the message is not JSON");
	}
}
