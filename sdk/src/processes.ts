/** Background processes of a sandbox: they outlive their client, and their recent output is kept. */
import { ShaleApiError } from "./errors.ts";
import { LAST_EVENTS, toProcessEvent } from "./events.ts";
import { newId } from "./ids.ts";
import { type Offsets, OutputCursor } from "./output-cursor.ts";
import type { ReconnectOptions } from "./patience.ts";
import { CommandSession, type SessionReconnectOptions, type SessionTarget } from "./session.ts";
import { apiPath, type QueryValues, type Transport } from "./transport.ts";
import type { ProcessEvent, ProcessInfo, ProcessOptions, ReadFrom, TerminalSize } from "./types.ts";

interface CallOptions {
	readonly signal?: AbortSignal | undefined;
}

export interface StartOptions extends ProcessOptions, CallOptions {
	readonly terminal?: TerminalSize | undefined;
	/** Keep stdin open for those who write to it later; otherwise it is empty. */
	readonly stdin?: boolean | undefined;
}

export interface ReadOutput extends ReadFrom, ReconnectOptions {
	/** Wait for more until the process exits. Without it a running process's output closes with `end`. */
	readonly follow?: boolean | undefined;
}

export interface AttachOptions extends ReadFrom, SessionReconnectOptions {
	/** The session may write to stdin. Default false. */
	readonly stdin?: boolean | undefined;
	/** The process waits for this reader. Default false: a reader that falls behind loses output. */
	readonly hold?: boolean | undefined;
}

export class Processes {
	readonly #transport: Transport;
	readonly #sandboxId: string;

	constructor(transport: Transport, sandboxId: string) {
		this.#transport = transport;
		this.#sandboxId = sandboxId;
	}

	/** Starts without anybody attached; the newest 1 MiB of each output stream is kept. */
	async start(argv: readonly string[], options: StartOptions = {}): Promise<ProcessInfo> {
		const { id = newId("p"), envs, cwd, user, timeoutMs, terminal, stdin, signal } = options;
		const json = { argv, id, env: envs, workdir: cwd, user, timeoutMs, terminal, stdin };
		return await this.#transport.json("POST", this.#path(), { json, signal, repeat: "always" });
	}

	async list({ signal }: CallOptions = {}): Promise<readonly ProcessInfo[]> {
		const path = this.#path();
		return (await this.#transport.json<{ processes: ProcessInfo[] }>("GET", path, { signal })).processes;
	}

	async get(processId: string, { signal }: CallOptions = {}): Promise<ProcessInfo> {
		return await this.#transport.json("GET", this.#path(processId), { signal });
	}

	/** Drops a finished process and its output. @throws ShaleApiError `conflict` while it runs. */
	async remove(processId: string, { signal }: CallOptions = {}): Promise<void> {
		await this.#transport.send("DELETE", this.#path(processId), { signal });
	}

	/** To its whole group, unless `group` is false. */
	async signal(
		processId: string,
		signal: string,
		{ group = true, ...options }: CallOptions & { readonly group?: boolean } = {},
	): Promise<void> {
		const json = { signal, group };
		await this.#transport.send("POST", this.#path(processId, "signal"), { json, ...options });
	}

	/** @throws ShaleApiError `conflict` when it has no terminal. */
	async resize(processId: string, size: TerminalSize, { signal }: CallOptions = {}): Promise<void> {
		const json = { columns: size.columns, rows: size.rows };
		await this.#transport.send("POST", this.#path(processId, "resize"), { json, signal, repeat: "always" });
	}

	/**
	 * Writes to its stdin, no faster than it reads; `close` ends it. A call that breaks off is not made again: `stdinEnd`
	 * of the process tells how much has arrived. {@link attach} does all that by itself.
	 * @throws ShaleApiError `conflict` when stdin is closed, or there is none.
	 */
	async write(
		processId: string,
		data: string | Uint8Array | AsyncIterable<Uint8Array>,
		{ close = false, signal }: CallOptions & { readonly close?: boolean } = {},
	): Promise<void> {
		const body = typeof data === "string" ? new TextEncoder().encode(data) : data;
		const query = { close: close ? "true" : undefined };
		await this.#transport.send("POST", this.#path(processId, "stdin"), { body, query, signal });
	}

	/**
	 * The kept output as events, closed by `exit` or, without `follow`, by `end`. Leaving the loop changes nothing for the
	 * process. When the daemon is restarted in between, the events go on where they were.
	 */
	async *output(processId: string, options: ReadOutput = {}): AsyncGenerator<ProcessEvent> {
		const { from, isFromOldest, isExact } = await this.#toBeginning(processId, options);
		const patience = this.#transport.patience(options);
		const cursor = new OutputCursor(from);
		let next = isFromOldest ? undefined : from;
		let isBegun = false;
		for (;;) {
			try {
				for await (const event of this.#attempt(processId, next, options)) {
					patience.reward();
					isBegun = true;
					if (event.type === "output")
						for (const part of cursor.take(event))
							yield "data" in part ? { type: "output", ...part } : { type: "dropped", ...part };
					else if (event.type === "dropped")
						for (const gap of cursor.skip(event)) yield { type: "dropped", ...gap };
					else yield event;
				}
				return;
			} catch (error) {
				if (next && isGone(error) && (isBegun || !isExact)) next = undefined;
				else {
					await patience.wait(error);
					next = cursor.next;
				}
			}
		}
	}

	/** Attaches to a process, as one of any number of clients. Closing the session only detaches it. */
	async attach(processId: string, options: AttachOptions = {}): Promise<CommandSession> {
		const { stdin = false, hold = false } = options;
		const target: SessionTarget = {
			sandboxId: this.#sandboxId,
			...(await this.#toBeginning(processId, options)),
			dial: ({ next }) => ({
				path: ["processes", processId, "attach"],
				query: { ...toQuery(next), stdin: `${stdin}`, hold: `${hold}` },
			}),
		};
		return await CommandSession.open(this.#transport, target, options);
	}

	/** One connection's events. */
	async *#attempt(
		processId: string,
		next: Offsets | undefined,
		{ follow = false, signal }: ReadOutput,
	): AsyncGenerator<ProcessEvent> {
		const query = { ...toQuery(next), follow: `${follow}` };
		const options = { query, signal, last: LAST_EVENTS, repeat: "never" } as const;
		for await (const wire of this.#transport.events("GET", this.#path(processId, "output"), options)) {
			const event = toProcessEvent(wire);
			if (event) yield event;
		}
	}

	/** As offsets, which also a later connection can go on from. */
	async #toBeginning(processId: string, options: ReadFrom & CallOptions) {
		const { stdoutAfter, stderrAfter, tail, signal } = options;
		if (tail !== undefined) {
			const { stdoutStart, stdoutEnd, stderrStart, stderrEnd } = await this.get(processId, { signal });
			const stdout = Math.max(stdoutStart, stdoutEnd - tail);
			const stderr = Math.max(stderrStart, stderrEnd - tail);
			return { from: { stdout, stderr }, isFromOldest: false, isExact: false };
		}
		const isExact = stdoutAfter !== undefined || stderrAfter !== undefined;
		const from = isExact ? { stdout: stdoutAfter, stderr: stderrAfter } : { stdout: 0, stderr: 0 };
		return { from, isFromOldest: !isExact, isExact };
	}

	#path(...parts: readonly string[]): string {
		return apiPath("sandboxes", this.#sandboxId, "processes", ...parts);
	}
}

function toQuery(next: Offsets | undefined): QueryValues {
	return { stdoutAfter: next?.stdout?.toString(), stderrAfter: next?.stderr?.toString() };
}

function isGone(error: unknown): boolean {
	return error instanceof ShaleApiError && error.code === "gone";
}
