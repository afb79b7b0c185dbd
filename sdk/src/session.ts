/**
 * A program with everything attached, over a WebSocket: stdin, a terminal with its size, signals. When the
 * session is closed, or its client dies, the program's process group is killed.
 */
import { ShaleApiError, ShaleConnectionError } from "./errors.ts";
import { textField, toProcessExit } from "./events.ts";
import { apiPath, type Transport, toErrorBody, type WebSocketLike } from "./transport.ts";
import type { OutputChunk, ProcessExit, ProcessOptions, TerminalSize } from "./types.ts";

export interface SessionOptions extends ProcessOptions {
	/** Run it on a terminal of this size; its stderr is then its stdout. */
	readonly terminal?: TerminalSize | undefined;
	/** Keep stdin open for `write`; otherwise it is empty. */
	readonly stdin?: boolean | undefined;
	readonly signal?: AbortSignal | undefined;
}

/** Output that waits for its reader. Beyond it the socket is paused, where it can be (`ws`). */
const MAX_QUEUED_BYTES = 1024 * 1024;
/** Stdin that waits in the socket, until `write` waits too. */
const MAX_UNSENT_BYTES = 1024 * 1024;
/** A WebSocket says how much it still holds, but not when it has sent it. */
const UNSENT_POLL_MS = 5;
/** The daemon takes messages up to 1 MiB. */
const MAX_MESSAGE_BYTES = 256 * 1024;
/** One byte of stream, eight of offset. */
const OUTPUT_HEADER_BYTES = 9;
const OPEN = 1;

export class CommandSession {
	readonly processId: string;
	/** Rejects with ShaleConnectionError when the connection breaks first, or with the abort's reason. */
	readonly exited: Promise<ProcessExit>;
	readonly #socket: WebSocketLike;
	readonly #queue: OutputQueue;

	private constructor(processId: string, socket: WebSocketLike, { queue, exited }: Receiving) {
		this.processId = processId;
		this.#socket = socket;
		this.#queue = queue;
		this.exited = exited;
	}

	/**
	 * Starts a program. Resolves when it has started.
	 * @throws ShaleApiError, ShaleConnectionError, or the signal's reason.
	 */
	static async open(
		transport: Transport,
		sandboxId: string,
		request: { readonly argv: readonly string[] } & SessionOptions,
	): Promise<CommandSession> {
		const { signal, argv, id, envs, cwd, user, timeoutMs, terminal, stdin } = request;
		signal?.throwIfAborted();
		const path = apiPath("sandboxes", sandboxId, "exec");
		const socket = transport.openSocket(path);
		const receiving = receive(socket, signal);
		socket.addEventListener("open", () => {
			socket.send(JSON.stringify({ argv, id, env: envs, workdir: cwd, user, timeoutMs, terminal, stdin }));
		});
		try {
			return new CommandSession(await receiving.started, socket, receiving);
		} catch (error) {
			if (!receiving.wasOpened() && !signal?.aborted) {
				// A WebSocket does not tell why it was refused; a plain request for the sandbox does.
				await transport.json("GET", apiPath("sandboxes", sandboxId), { signal });
			}
			throw error;
		}
	}

	/** All output, in order. To be read once; ends with the program or throws as {@link exited} does. */
	output(): AsyncGenerator<OutputChunk> {
		return this.#queue.read();
	}

	/** Resolves when more can be written. What is written after the program's end is dropped. */
	async write(data: string | Uint8Array): Promise<void> {
		const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
		for (let from = 0; from < bytes.length && this.#socket.readyState === OPEN; from += MAX_MESSAGE_BYTES) {
			this.#socket.send(bytes.subarray(from, from + MAX_MESSAGE_BYTES));
			while (this.#socket.readyState === OPEN && this.#socket.bufferedAmount > MAX_UNSENT_BYTES) {
				await new Promise((resolve) => setTimeout(resolve, UNSENT_POLL_MS));
			}
		}
	}

	closeStdin(): void {
		this.#send({ type: "stdin_close" });
	}

	resize({ columns, rows }: TerminalSize): void {
		this.#send({ type: "resize", columns, rows });
	}

	/** To the process group: `SIGINT`, `SIGTERM`, … */
	signal(name: string): void {
		this.#send({ type: "signal", signal: name });
	}

	/** Kills the program when it still runs. May be called again. */
	close(): void {
		this.#queue.discard();
		closeSocket(this.#socket, 1000);
	}

	async [Symbol.asyncDispose](): Promise<void> {
		this.close();
	}

	#send(message: object): void {
		if (this.#socket.readyState === OPEN) this.#socket.send(JSON.stringify(message));
	}
}

interface Receiving {
	readonly queue: OutputQueue;
	readonly started: Promise<string>;
	readonly exited: Promise<ProcessExit>;
	readonly wasOpened: () => boolean;
}

/** Sorts what the socket receives into the start, the output and the exit. */
function receive(socket: WebSocketLike, signal: AbortSignal | undefined): Receiving {
	const started = Promise.withResolvers<string>();
	const exited = Promise.withResolvers<ProcessExit>();
	// Whoever waits for only one of the two must not be struck by the other's rejection.
	started.promise.catch(() => undefined);
	exited.promise.catch(() => undefined);
	const queue = new OutputQueue(socket);
	let opened = false;
	const onAbort = (): void => {
		fail(signal?.reason);
		queue.discard();
		closeSocket(socket, 1000);
	};
	const fail = (error: unknown): void => {
		signal?.removeEventListener("abort", onAbort);
		started.reject(error);
		exited.reject(error);
		queue.fail(error);
	};
	const onEvent = (event: Readonly<Record<string, unknown>>): void => {
		if (event.type === "started") started.resolve(textField(event, "processId"));
		else if (event.type === "error") fail(new ShaleApiError(toErrorBody(event)));
		else if (event.type === "exit") {
			signal?.removeEventListener("abort", onAbort);
			exited.resolve(toProcessExit(event));
			queue.end();
			closeSocket(socket, 1000);
		}
	};
	signal?.addEventListener("abort", onAbort, { once: true });
	socket.addEventListener("open", () => {
		opened = true;
	});
	socket.addEventListener("message", ({ data }) => {
		try {
			if (typeof data === "string") onEvent(JSON.parse(data));
			else queue.push(toOutputChunk(data));
		} catch (error) {
			fail(
				error instanceof ShaleConnectionError
					? error
					: new ShaleConnectionError("the daemon sent what is not an event", { cause: error }),
			);
			queue.discard();
			closeSocket(socket, 1002);
		}
	});
	// Node's own WebSocket reports a failure by "error" alone when the handshake was refused.
	socket.addEventListener("error", () =>
		fail(new ShaleConnectionError("the connection to the daemon failed")),
	);
	socket.addEventListener("close", () =>
		fail(new ShaleConnectionError("the connection to the daemon was lost")),
	);
	return { queue, started: started.promise, exited: exited.promise, wasOpened: () => opened };
}

/** A paused socket would never see the other side's half of the closing. */
function closeSocket(socket: WebSocketLike, code: number): void {
	socket.close(code);
	socket.resume?.();
}

function toOutputChunk(data: unknown): OutputChunk {
	if (!(data instanceof ArrayBuffer) || data.byteLength < OUTPUT_HEADER_BYTES) {
		throw new ShaleConnectionError("the daemon sent output without a header");
	}
	const header = new DataView(data);
	const stream = header.getUint8(0);
	if (stream !== 1 && stream !== 2) {
		throw new ShaleConnectionError(`the daemon sent output of an unknown stream ${stream}`);
	}
	return {
		stream: stream === 1 ? "stdout" : "stderr",
		offset: Number(header.getBigUint64(1)),
		data: new Uint8Array(data, OUTPUT_HEADER_BYTES),
	};
}

/** Chunks between the socket and one reader; pauses the socket while the reader is behind. */
class OutputQueue {
	readonly #socket: WebSocketLike;
	#chunks: OutputChunk[] = [];
	#queuedBytes = 0;
	#ended = false;
	#isDiscarding = false;
	#failure: { readonly error: unknown } | undefined;
	#wake: () => void = () => undefined;

	constructor(socket: WebSocketLike) {
		this.#socket = socket;
	}

	push(chunk: OutputChunk): void {
		if (this.#isDiscarding) return;
		this.#chunks.push(chunk);
		this.#queuedBytes += chunk.data.byteLength;
		if (this.#queuedBytes > MAX_QUEUED_BYTES) this.#socket.pause?.();
		this.#wake();
	}

	end(): void {
		this.#ended = true;
		this.#wake();
	}

	/** Nobody will read what comes from now on. */
	discard(): void {
		this.#isDiscarding = true;
	}

	/** What is queued is still read; the error comes after it. The first call counts, and none after the end. */
	fail(error: unknown): void {
		if (!this.#ended) this.#failure ??= { error };
		this.#wake();
	}

	async *read(): AsyncGenerator<OutputChunk> {
		for (;;) {
			const chunks = this.#chunks;
			this.#chunks = [];
			this.#queuedBytes = 0;
			this.#socket.resume?.();
			yield* chunks;
			if (this.#chunks.length > 0) continue;
			if (this.#ended) return;
			if (this.#failure) throw this.#failure.error;
			await new Promise<void>((resolve) => {
				this.#wake = resolve;
			});
		}
	}
}
