/** Running programs in a sandbox while their client waits. */
import { CommandFailedError, ShaleConnectionError } from "./errors.ts";
import { LAST_EVENTS, toBase64, toProcessEvent } from "./events.ts";
import { newId } from "./ids.ts";
import { OutputCursor } from "./output-cursor.ts";
import type { ReconnectOptions } from "./patience.ts";
import { Processes } from "./processes.ts";
import { CommandSession, type SessionOptions, type SessionTarget } from "./session.ts";
import { apiPath, type Transport } from "./transport.ts";
import type {
	CommandResult,
	DroppedOutput,
	OutputChunk,
	ProcessEvent,
	ProcessInfo,
	ProcessOptions,
} from "./types.ts";

/** Aborting the signal kills the program's process group. */
export interface StreamOptions extends ProcessOptions, ReconnectOptions {
	/** All of stdin; empty when left out. */
	readonly stdin?: string | Uint8Array | undefined;
}

export interface CommandOptions extends StreamOptions {
	/** Called with each piece of output as UTF-8, never in the middle of a character; awaited, which slows the program. */
	readonly onStdout?: ((text: string) => unknown) | undefined;
	readonly onStderr?: ((text: string) => unknown) | undefined;
	/** Kept per stream for the result; what is beyond still reaches the callbacks. Default 16 MiB. */
	readonly maxOutputBytes?: number | undefined;
	/** Throw CommandFailedError unless the exit code is 0. Default false: an exit code is a result. */
	readonly throwOnError?: boolean | undefined;
	readonly background?: false | undefined;
}

/** The options of a command that is left running; its output is read with `processes.output`. */
export interface BackgroundOptions extends ProcessOptions {
	readonly background: true;
	readonly signal?: AbortSignal | undefined;
}

const DEFAULT_MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

export class Commands {
	readonly #transport: Transport;
	readonly #sandboxId: string;
	readonly #processes: Processes;

	constructor(transport: Transport, sandboxId: string) {
		this.#transport = transport;
		this.#sandboxId = sandboxId;
		this.#processes = new Processes(transport, sandboxId);
	}

	/** Runs a line of shell with the sandbox's /bin/sh. See {@link exec}. */
	async run(line: string, options?: CommandOptions): Promise<CommandResult>;
	async run(line: string, options: BackgroundOptions): Promise<ProcessInfo>;
	async run(
		line: string,
		options: CommandOptions | BackgroundOptions = {},
	): Promise<CommandResult | ProcessInfo> {
		const argv = ["/bin/sh", "-c", line];
		if (options.background) return await this.#processes.start(argv, options);
		return await this.#capture(argv, options);
	}

	/**
	 * Runs a program, without a shell, to its end.
	 * @throws ShaleApiError, ShaleConnectionError, the signal's reason, and CommandFailedError when asked for.
	 */
	async exec(program: string, args?: readonly string[], options?: CommandOptions): Promise<CommandResult>;
	async exec(program: string, args: readonly string[], options: BackgroundOptions): Promise<ProcessInfo>;
	async exec(
		program: string,
		args: readonly string[] = [],
		options: CommandOptions | BackgroundOptions = {},
	): Promise<CommandResult | ProcessInfo> {
		if (options.background) return await this.#processes.start([program, ...args], options);
		return await this.#capture([program, ...args], options);
	}

	/**
	 * Runs a program and gives its events as they come, closed by `exit`. A slow reader slows the program;
	 * leaving the loop early kills it. When the daemon is restarted in between, the events go on where they were.
	 */
	async *stream(argv: readonly string[], options: StreamOptions = {}): AsyncGenerator<ProcessEvent> {
		const { id = newId("p"), envs, cwd, user, timeoutMs, stdin, signal } = options;
		const request = { argv, id, env: envs, workdir: cwd, user, timeoutMs, ...toStdin(stdin) };
		const patience = this.#transport.patience(options);
		const cursor = new OutputCursor();
		let isStarted = false;
		for (;;) {
			try {
				for await (const event of this.#attempt({ ...request, resume: isStarted || undefined }, signal)) {
					patience.reward();
					if (event.type === "output") for (const part of cursor.take(event)) yield toEvent(part);
					else if (event.type === "dropped") for (const gap of cursor.skip(event)) yield toEvent(gap);
					else if (event.type !== "started" || !isStarted) yield event;
					if (event.type === "started") isStarted = true;
				}
				break;
			} catch (error) {
				await patience.wait(error);
			}
		}
		if (options.id === undefined) this.#forget(id);
	}

	/** One connection's events. */
	async *#attempt(json: object, signal: AbortSignal | undefined): AsyncGenerator<ProcessEvent> {
		const path = apiPath("sandboxes", this.#sandboxId, "exec");
		const options = { json, signal, last: LAST_EVENTS, repeat: "never" } as const;
		for await (const wire of this.#transport.events("POST", path, options)) {
			const event = toProcessEvent(wire);
			if (event) yield event;
		}
	}

	/** Its end is known, and nobody else knows its id. Others do not wait for this, and it does no harm if it fails. */
	#forget(processId: string): void {
		const path = apiPath("sandboxes", this.#sandboxId, "processes", processId);
		this.#transport.send("DELETE", path, { repeat: "never" }).catch(() => undefined);
	}

	/**
	 * Starts a program with stdin, terminal and signals attached. It is killed when the session is closed or aborted, and
	 * a minute after its client was lost.
	 */
	async open(argv: readonly string[], options: SessionOptions = {}): Promise<CommandSession> {
		const { id = newId("p"), envs, cwd, user, timeoutMs, terminal, stdin } = options;
		const request = { argv, id, env: envs, workdir: cwd, user, timeoutMs, terminal, stdin };
		const target: SessionTarget = {
			sandboxId: this.#sandboxId,
			from: { stdout: 0, stderr: 0 },
			isFromOldest: true,
			isExact: false,
			dial: ({ isResumed }) => ({
				path: ["exec"],
				request: isResumed ? { ...request, resume: true } : request,
			}),
		};
		const session = await CommandSession.open(this.#transport, target, options);
		if (options.id === undefined) {
			session.exited.then(
				() => this.#forget(id),
				() => undefined,
			);
		}
		return session;
	}

	async #capture(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
		const { maxOutputBytes = DEFAULT_MAX_OUTPUT_BYTES, onStdout, onStderr } = options;
		const captures = {
			stdout: new Capture(maxOutputBytes, onStdout),
			stderr: new Capture(maxOutputBytes, onStderr),
		};
		let processId = "";
		for await (const event of this.stream(argv, options)) {
			if (event.type === "started") processId = event.processId;
			else if (event.type === "output") await captures[event.stream].add(event.data);
			else if (event.type === "exit") {
				const stdout = await captures.stdout.end();
				const stderr = await captures.stderr.end();
				const truncated = captures.stdout.isTruncated || captures.stderr.isTruncated;
				const { type, ...exit } = event;
				const result: CommandResult = { processId, ...exit, stdout, stderr, truncated };
				if (options.throwOnError && result.exitCode !== 0) throw new CommandFailedError(argv, result);
				return result;
			}
		}
		throw new ShaleConnectionError("the daemon ended the program's output without its exit");
	}
}

function toEvent(part: OutputChunk | DroppedOutput): ProcessEvent {
	return "data" in part ? { type: "output", ...part } : { type: "dropped", ...part };
}

function toStdin(stdin: string | Uint8Array | undefined): { stdin?: string; stdinBase64?: string } {
	if (stdin === undefined) return {};
	return typeof stdin === "string" ? { stdin } : { stdinBase64: toBase64(stdin) };
}

/** One stream's text: to its callback as it comes, and kept up to a cap. */
class Capture {
	readonly #maxBytes: number;
	readonly #onText: ((text: string) => unknown) | undefined;
	readonly #live = new TextDecoder();
	readonly #kept = new TextDecoder();
	#text = "";
	#keptBytes = 0;
	isTruncated = false;

	constructor(maxBytes: number, onText: ((text: string) => unknown) | undefined) {
		this.#maxBytes = maxBytes;
		this.#onText = onText;
	}

	async add(data: Uint8Array): Promise<void> {
		const room = this.#maxBytes - this.#keptBytes;
		const kept = data.subarray(0, room);
		this.#keptBytes += kept.byteLength;
		this.#text += this.#kept.decode(kept, { stream: true });
		if (kept.byteLength < data.byteLength) this.isTruncated = true;
		await this.#tell(this.#live.decode(data, { stream: true }));
	}

	async end(): Promise<string> {
		await this.#tell(this.#live.decode());
		return this.#text + this.#kept.decode();
	}

	async #tell(text: string): Promise<void> {
		if (text !== "") await this.#onText?.(text);
	}
}
