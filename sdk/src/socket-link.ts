/** One WebSocket to a process, from its opening to its end: what comes over it, checked and sorted. */
import { ShaleApiError, ShaleConnectionError } from "./errors.ts";
import { numberField, textField, toDroppedOutput, toProcessExit } from "./events.ts";
import { SILENCE_MS, toErrorBody, type WebSocketLike } from "./transport.ts";
import type { DroppedOutput, OutputChunk, ProcessExit, TerminalSize } from "./types.ts";

/** One byte of stream, eight of offset. */
const OUTPUT_HEADER_BYTES = 9;
const OPEN = 1;
const CLOSE_NORMAL = 1000;

export interface LinkListener {
	onOpen(): void;
	onStarted(processId: string, stdinOffset: number | undefined): void;
	onOutput(chunk: OutputChunk): void;
	onDropped(gap: DroppedOutput): void;
	/** What was sent of stdin before this offset has arrived. */
	onStdin(offset: number): void;
	onExit(exit: ProcessExit): void;
	/** It ended without an exit. Nothing is called afterwards. */
	onFailure(error: unknown): void;
}

export type LinkMessage =
	| { readonly type: "stdin_close" }
	| ({ readonly type: "resize" } & TerminalSize)
	| { readonly type: "signal"; readonly signal: string };

export class SocketLink {
	readonly #socket: WebSocketLike;
	readonly #listener: LinkListener;
	readonly #watch: ReturnType<typeof setInterval>;
	#heardAt = performance.now();
	#isPaused = false;
	#isOver = false;

	/** @param request the first message, if there is one */
	constructor(socket: WebSocketLike, request: object | undefined, listener: LinkListener) {
		this.#socket = socket;
		this.#listener = listener;
		socket.addEventListener("open", () => {
			if (this.#isOver) return;
			listener.onOpen();
			if (request) socket.send(JSON.stringify(request));
		});
		socket.addEventListener("message", ({ data }) => this.#receive(data));
		// Node's own WebSocket reports a failure by "error" alone when the handshake was refused.
		socket.addEventListener("error", () => this.#fail(lost("the connection to the daemon failed")));
		socket.addEventListener("close", () => this.#fail(lost("the connection to the daemon was lost")));
		this.#watch = setInterval(() => this.#checkSilence(), SILENCE_MS / 3);
	}

	send(message: LinkMessage | Uint8Array): void {
		if (this.#isOver || this.#socket.readyState !== OPEN) return;
		this.#socket.send(message instanceof Uint8Array ? message : JSON.stringify(message));
	}

	/** Where the platform cannot, what comes waits in memory. */
	setPaused(isPaused: boolean): void {
		if (this.#isPaused === isPaused) return;
		this.#isPaused = isPaused;
		this.#heardAt = performance.now();
		if (isPaused) this.#socket.pause?.();
		else this.#socket.resume?.();
	}

	/** Ends it without a word to the listener. May be called again. */
	close(): void {
		this.#isOver = true;
		clearInterval(this.#watch);
		this.#socket.close(CLOSE_NORMAL);
		// A paused socket would never see the other side's half of the closing.
		if (this.#isPaused) this.#socket.resume?.();
	}

	#receive(data: unknown): void {
		if (this.#isOver) return;
		this.#heardAt = performance.now();
		try {
			if (typeof data === "string") this.#handle(JSON.parse(data));
			else this.#listener.onOutput(toOutputChunk(data));
		} catch (error) {
			const isKnown = error instanceof ShaleConnectionError;
			const cause = isKnown
				? error
				: new ShaleConnectionError("the daemon sent what is no event", { cause: error });
			this.#fail(cause);
		}
	}

	#handle(event: Readonly<Record<string, unknown>>): void {
		const { type } = event;
		if (type === "started") {
			const stdinOffset = event.stdinOffset === undefined ? undefined : numberField(event, "stdinOffset");
			this.#listener.onStarted(textField(event, "processId"), stdinOffset);
		} else if (type === "dropped") this.#listener.onDropped(toDroppedOutput(event));
		else if (type === "stdin") this.#listener.onStdin(numberField(event, "offset"));
		else if (type === "error") this.#fail(new ShaleApiError(toErrorBody(event)));
		else if (type === "exit") {
			const exit = toProcessExit(event);
			this.close();
			this.#listener.onExit(exit);
		}
		// Others are of a newer daemon, or only show that the connection lives.
	}

	#fail(error: unknown): void {
		if (this.#isOver) return;
		this.close();
		this.#listener.onFailure(error);
	}

	/** A paused socket hears nothing; others hear at least that nothing happens. */
	#checkSilence(): void {
		if (this.#isPaused || performance.now() - this.#heardAt < SILENCE_MS) return;
		this.#fail(lost(`the connection to the daemon was silent for ${SILENCE_MS / 1000} s`));
	}
}

function lost(message: string): ShaleConnectionError {
	return new ShaleConnectionError(message, { isLost: true });
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
