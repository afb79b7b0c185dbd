/**
 * A program with everything attached, over a WebSocket: stdin, a terminal with its size, signals. It outlives its
 * connections: when one is lost the next goes on where it ended, with the output and the stdin that are still missing.
 */
import { ShaleApiError, ShaleConnectionError } from "./errors.ts";
import { type Offsets, OutputCursor } from "./output-cursor.ts";
import { OutputQueue } from "./output-queue.ts";
import type { Patience, ReconnectOptions } from "./patience.ts";
import { PendingInput } from "./pending-input.ts";
import { SocketLink } from "./socket-link.ts";
import { apiPath, type QueryValues, type Transport } from "./transport.ts";
import type { DroppedOutput, OutputChunk, ProcessExit, ProcessOptions, TerminalSize } from "./types.ts";

export interface SessionReconnectOptions extends ReconnectOptions {
	/** Output that is missing, because nobody read it while it was kept. */
	readonly onDropped?: ((gap: DroppedOutput) => void) | undefined;
}

export interface SessionOptions extends ProcessOptions, SessionReconnectOptions {
	/** Run it on a terminal of this size; its stderr is then its stdout. */
	readonly terminal?: TerminalSize | undefined;
	/** Keep stdin open for `write`; otherwise it is empty. */
	readonly stdin?: boolean | undefined;
}

/** How a connection of a session is asked for. */
export interface SessionTarget {
	readonly sandboxId: string;
	/** Where the client's view of the output begins. */
	readonly from: Offsets;
	/** The first connection asks for the oldest output that is kept, whatever `from` is. */
	readonly isFromOldest: boolean;
	/** That the output at `from` is gone is an error, not only a gap. */
	readonly isExact: boolean;
	/** `next`: how far the output was read; undefined: the oldest that is kept. */
	dial(state: { readonly isResumed: boolean; readonly next: Offsets | undefined }): {
		/** Below that of the sandbox. */
		readonly path: readonly string[];
		readonly query?: QueryValues;
		/** The first message. */
		readonly request?: object;
	};
}

export class CommandSession {
	/** Rejects with ShaleConnectionError when the daemon stays away, or with the abort's reason. */
	readonly exited: Promise<ProcessExit>;
	readonly #transport: Transport;
	readonly #target: SessionTarget;
	readonly #options: SessionReconnectOptions;
	readonly #patience: Patience;
	readonly #cursor: OutputCursor;
	readonly #queue = new OutputQueue((hasRoom) => this.#link?.setPaused(!hasRoom));
	readonly #stdin = new PendingInput();
	readonly #ending = new AbortController();
	readonly #started = Promise.withResolvers<string>();
	readonly #exited = Promise.withResolvers<ProcessExit>();
	#processId: string | undefined;
	#link: SocketLink | undefined;
	/** The connection takes messages. */
	#isLinked = false;
	/** What was asked while there was no connection. */
	#size: TerminalSize | undefined;
	#signals: string[] = [];
	#isFromOldest: boolean;

	private constructor(transport: Transport, target: SessionTarget, options: SessionReconnectOptions) {
		this.#transport = transport;
		this.#target = target;
		this.#options = options;
		this.#cursor = new OutputCursor(target.from);
		this.#isFromOldest = target.isFromOldest;
		this.#patience = transport.patience({ ...options, signal: this.#ending.signal });
		this.exited = this.#exited.promise;
		// Whoever waits for only one of the two must not be struck by the other's rejection.
		this.exited.catch(() => undefined);
	}

	/**
	 * Resolves when the program has started, or was found.
	 * @throws ShaleApiError, ShaleConnectionError, or the signal's reason.
	 */
	static async open(
		transport: Transport,
		target: SessionTarget,
		options: SessionReconnectOptions,
	): Promise<CommandSession> {
		const { signal } = options;
		signal?.throwIfAborted();
		const session = new CommandSession(transport, target, options);
		const onAbort = (): void => session.#end(signal?.reason);
		signal?.addEventListener("abort", onAbort, { once: true });
		session.exited.catch(() => undefined).finally(() => signal?.removeEventListener("abort", onAbort));
		void session.#run();
		await session.#started.promise;
		return session;
	}

	get processId(): string {
		return this.#processId ?? "";
	}

	/** All output, in order. To be read once; ends with the program or throws as {@link exited} does. */
	output(): AsyncGenerator<OutputChunk> {
		return this.#queue.read();
	}

	/** Resolves when more can be written. What is written after the program's end is dropped. */
	async write(data: string | Uint8Array): Promise<void> {
		await this.#stdin.write(typeof data === "string" ? new TextEncoder().encode(data) : data);
	}

	closeStdin(): void {
		this.#stdin.close();
	}

	resize({ columns, rows }: TerminalSize): void {
		this.#size = { columns, rows };
		if (this.#isLinked) this.#link?.send({ type: "resize", columns, rows });
	}

	/** To the process group: `SIGINT`, `SIGTERM`, … */
	signal(name: string): void {
		if (this.#isLinked) this.#link?.send({ type: "signal", signal: name });
		else this.#signals.push(name);
	}

	/** Ends the connection, and with it a program that belongs to it. May be called again. */
	close(): void {
		this.#end(new ShaleConnectionError("the session was closed"));
	}

	async [Symbol.asyncDispose](): Promise<void> {
		this.close();
	}

	/** One connection after the other, until the exit. */
	async #run(): Promise<void> {
		try {
			for (;;) {
				try {
					this.#finish(await this.#connect());
					return;
				} catch (error) {
					this.#isLinked = false;
					this.#stdin.suspend();
					if (this.#canSkip(error)) this.#isFromOldest = true;
					else await this.#patience.wait(error);
				}
			}
		} catch (error) {
			this.#end(this.#ending.signal.aborted ? this.#ending.signal.reason : error);
		}
	}

	/** The exit, or the failure of one connection. */
	async #connect(): Promise<ProcessExit> {
		this.#ending.signal.throwIfAborted();
		const isResumed = this.#processId !== undefined;
		const next = this.#isFromOldest ? undefined : this.#cursor.next;
		const { path, query, request } = this.#target.dial({ isResumed, next });
		const sandboxPath = apiPath("sandboxes", this.#target.sandboxId);
		const socket = this.#transport.openSocket(
			`${sandboxPath}/${path.map(encodeURIComponent).join("/")}`,
			query,
		);
		const { promise, resolve, reject } = Promise.withResolvers<ProcessExit>();
		let isOpen = false;
		const link: SocketLink = new SocketLink(socket, request, {
			onOpen: () => {
				isOpen = true;
				this.#transport.noteAnswer();
			},
			onStarted: (processId, stdinOffset) => this.#onStarted(link, processId, stdinOffset),
			onOutput: (chunk) => this.#onOutput(chunk),
			onDropped: (gap) => this.#tellDropped(this.#cursor.skip(gap)),
			onStdin: (offset) => this.#stdin.acknowledge(offset),
			onExit: resolve,
			onFailure: reject,
		});
		this.#link = link;
		if (!this.#queue.hasRoom) link.setPaused(true);
		try {
			return await promise;
		} catch (error) {
			// A WebSocket does not tell why it was refused; a plain request for the sandbox does.
			if (!isOpen) await this.#transport.json("GET", sandboxPath, { repeat: "never" });
			throw error;
		}
	}

	#onStarted(link: SocketLink, processId: string, stdinOffset = 0): void {
		this.#processId ??= processId;
		this.#isFromOldest = false;
		this.#isLinked = true;
		this.#patience.reward();
		this.#stdin.resume(
			{ send: (bytes) => link.send(bytes), end: () => link.send({ type: "stdin_close" }) },
			stdinOffset,
		);
		if (this.#size) link.send({ type: "resize", ...this.#size });
		for (const signal of this.#signals.splice(0)) link.send({ type: "signal", signal });
		this.#started.resolve(processId);
	}

	#onOutput(chunk: OutputChunk): void {
		for (const part of this.#cursor.take(chunk)) {
			if ("data" in part) this.#queue.push(part);
			else this.#options.onDropped?.(part);
		}
	}

	#tellDropped(gaps: Iterable<DroppedOutput>): void {
		for (const gap of gaps) this.#options.onDropped?.(gap);
	}

	/** History that was to be read is no longer kept: what is left is taken, and the gap told. */
	#canSkip(error: unknown): boolean {
		const isGone = error instanceof ShaleApiError && error.code === "gone";
		const isAllowed = this.#processId !== undefined || !this.#target.isExact;
		return isGone && isAllowed && !this.#isFromOldest;
	}

	#finish(exit: ProcessExit): void {
		this.#stdin.end();
		this.#queue.end();
		this.#exited.resolve(exit);
	}

	#end(reason: unknown): void {
		this.#stdin.end();
		this.#queue.discard();
		this.#queue.fail(reason);
		this.#started.reject(reason);
		this.#exited.reject(reason);
		this.#ending.abort(reason);
		this.#link?.close();
	}
}
