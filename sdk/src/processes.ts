/** Background processes of a sandbox: they outlive their client, and their recent output is kept. */
import { LAST_EVENTS, toProcessEvent } from "./events.ts";
import { apiPath, type Transport } from "./transport.ts";
import type { ProcessEvent, ProcessInfo, ProcessOptions, ReadOutput, TerminalSize } from "./types.ts";

export interface StartOptions extends ProcessOptions {
	readonly terminal?: TerminalSize | undefined;
	readonly signal?: AbortSignal | undefined;
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
		const { id, envs, cwd, user, timeoutMs, terminal, signal } = options;
		const json = { argv, id, env: envs, workdir: cwd, user, timeoutMs, terminal };
		return await this.#transport.json("POST", this.#path(), { json, signal });
	}

	async list(): Promise<readonly ProcessInfo[]> {
		const { processes } = await this.#transport.json<{ processes: ProcessInfo[] }>("GET", this.#path());
		return processes;
	}

	async get(processId: string): Promise<ProcessInfo> {
		return await this.#transport.json("GET", this.#path(processId));
	}

	/** Drops a finished process and its output. @throws ShaleApiError `conflict` while it runs. */
	async remove(processId: string): Promise<void> {
		await this.#transport.send("DELETE", this.#path(processId));
	}

	/** To its whole group, unless `group` is false. */
	async signal(
		processId: string,
		signal: string,
		{ group = true }: { readonly group?: boolean } = {},
	): Promise<void> {
		await this.#transport.send("POST", this.#path(processId, "signal"), { json: { signal, group } });
	}

	/** The kept output as events, closed by `exit` or, without `follow`, by `end`. Leaving the loop detaches. */
	async *output(processId: string, options: ReadOutput = {}): AsyncGenerator<ProcessEvent> {
		const { stdoutAfter = 0, stderrAfter = 0, follow = false, signal } = options;
		const query = { stdoutAfter: `${stdoutAfter}`, stderrAfter: `${stderrAfter}`, follow: `${follow}` };
		const path = this.#path(processId, "output");
		for await (const wire of this.#transport.events("GET", path, { query, signal, last: LAST_EVENTS })) {
			const event = toProcessEvent(wire);
			if (event) yield event;
		}
	}

	#path(...parts: readonly string[]): string {
		return apiPath("sandboxes", this.#sandboxId, "processes", ...parts);
	}
}
