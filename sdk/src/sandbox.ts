/** One sandbox, and the collection of all of them. */
import { Shale, type ShaleOptions } from "./client.ts";
import { Commands } from "./commands.ts";
import { Files } from "./files.ts";
import { newId } from "./ids.ts";
import { Processes } from "./processes.ts";
import { apiPath, type RequestOptions, type Transport } from "./transport.ts";
import type { CreateSandbox, ListSandboxes, SandboxInfo, SandboxPage, SandboxStats } from "./types.ts";

export interface CallOptions {
	readonly signal?: AbortSignal | undefined;
}

/**
 * A handle of a sandbox. `await using` destroys it at the end of the block; a handle that is merely dropped
 * leaves it running.
 */
export class Sandbox {
	readonly id: string;
	readonly commands: Commands;
	readonly processes: Processes;
	readonly files: Files;
	readonly #transport: Transport;

	constructor(transport: Transport, id: string) {
		this.id = id;
		this.commands = new Commands(transport, id);
		this.processes = new Processes(transport, id);
		this.files = new Files(transport, id);
		this.#transport = transport;
	}

	/** Makes a sandbox; it can run programs when this resolves. */
	static async create(options: CreateSandbox & ShaleOptions & CallOptions = {}): Promise<Sandbox> {
		const { url, token, WebSocket, http, reconnectMs, signal, ...request } = options;
		return await new Shale({ url, token, WebSocket, http, reconnectMs }).sandboxes.create(request, {
			signal,
		});
	}

	/** A handle of a sandbox that exists. @throws ShaleApiError `not_found` */
	static async connect(id: string, options: ShaleOptions & CallOptions = {}): Promise<Sandbox> {
		return await new Shale(options).sandboxes.connect(id, options);
	}

	async info({ signal }: CallOptions = {}): Promise<SandboxInfo> {
		return await this.#transport.json("GET", apiPath("sandboxes", this.id), { signal });
	}

	async stats({ signal }: CallOptions = {}): Promise<SandboxStats> {
		return await this.#transport.json("GET", apiPath("sandboxes", this.id, "stats"), { signal });
	}

	/** The plan that it was made from, one operation a line. */
	async plan({ signal }: CallOptions = {}): Promise<string> {
		return await this.#transport.text("GET", apiPath("sandboxes", this.id, "plan"), { signal });
	}

	/** Ends its processes and keeps its disk upper. May be called again. @throws ShaleApiError `conflict` on tmpfs */
	async stop({ signal }: CallOptions = {}): Promise<SandboxInfo> {
		return await this.#post("stop", { signal });
	}

	/** Starts a stopped one again, or one that failed, on its kept upper. May be called again. */
	async start({ signal }: CallOptions = {}): Promise<SandboxInfo> {
		return await this.#post("start", { signal });
	}

	/**
	 * Its lifetime ends so long from now, however long it was before: ms, or `500ms`, `30s`, `5m`, `2h`, `1d`; null: never.
	 * @throws TypeError for another text.
	 */
	async setTimeout(timeout: number | string | null, { signal }: CallOptions = {}): Promise<SandboxInfo> {
		return await this.#post("extend", { json: { lifetimeMs: toMs(timeout) }, signal });
	}

	/** Destroys it, from any state. May be called again. */
	async kill({ signal }: CallOptions = {}): Promise<void> {
		await this.#transport.send("DELETE", apiPath("sandboxes", this.id), { signal, repeat: "always" });
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.kill();
	}

	#post(action: string, options: RequestOptions): Promise<SandboxInfo> {
		return this.#transport.json("POST", apiPath("sandboxes", this.id, action), options);
	}
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function toMs(timeout: number | string | null): number | null {
	if (typeof timeout !== "string") return timeout;
	const [, count, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(timeout) ?? [];
	const unitMs = UNITS_MS[unit ?? ""];
	if (unitMs === undefined) throw new TypeError(`"${timeout}" is no time such as 30s, 5m or 2h`);
	return Math.round(Number(count) * unitMs);
}

export class Sandboxes {
	readonly #transport: Transport;

	constructor(transport: Transport) {
		this.#transport = transport;
	}

	/** Makes a sandbox; it can run programs when this resolves. By its id a broken-off call is made again, but not twice. */
	async create(request: CreateSandbox = {}, { signal }: CallOptions = {}): Promise<Sandbox> {
		const { id } = await this.#transport.json<SandboxInfo>("POST", apiPath("sandboxes"), {
			json: { ...request, id: request.id ?? newId("sb") },
			signal,
			repeat: "always",
		});
		return new Sandbox(this.#transport, id);
	}

	async get(id: string, { signal }: CallOptions = {}): Promise<SandboxInfo> {
		return await this.#transport.json("GET", apiPath("sandboxes", id), { signal });
	}

	/** One page. {@link all} turns the pages. */
	async list(filter: ListSandboxes = {}, { signal }: CallOptions = {}): Promise<SandboxPage> {
		const { labels = {}, name, state, limit, cursor } = filter;
		const query = {
			label: Object.entries(labels).map(([key, value]) => `${key}=${value}`),
			name,
			state,
			limit: limit?.toString(),
			cursor,
		};
		return await this.#transport.json("GET", apiPath("sandboxes"), { query, signal });
	}

	/** Every sandbox that the filter fits, page by page. */
	async *all(
		filter: Omit<ListSandboxes, "cursor"> = {},
		options: CallOptions = {},
	): AsyncGenerator<SandboxInfo> {
		let cursor: string | null | undefined;
		do {
			const page: SandboxPage = await this.list({ ...filter, cursor: cursor ?? undefined }, options);
			yield* page.sandboxes;
			cursor = page.cursor;
		} while (cursor);
	}

	/** A handle of a sandbox that exists. @throws ShaleApiError `not_found` */
	async connect(id: string, options: CallOptions = {}): Promise<Sandbox> {
		await this.get(id, options);
		return this.open(id);
	}

	/** A handle without asking whether the sandbox exists: the first call on it says so. */
	open(id: string): Sandbox {
		return new Sandbox(this.#transport, id);
	}

	/** The plan that a sandbox would be made from; nothing is made. */
	async plan(request: CreateSandbox = {}, { signal }: CallOptions = {}): Promise<string> {
		return await this.#transport.text("POST", apiPath("plan"), { json: request, signal });
	}
}
