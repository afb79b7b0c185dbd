/** The client of one daemon. */
import type { Http } from "./http.ts";
import { Layers } from "./layers.ts";
import type { GarbageReport, ListenEvents, SandboxEvent } from "./operation-types.ts";
import { Sandboxes } from "./sandbox.ts";
import { apiPath, DEFAULT_URL, Transport, type WebSocketConstructor } from "./transport.ts";
import type { DaemonVersion, DoctorReport } from "./types.ts";

export interface ShaleOptions {
	/** Default SHALE_URL of the environment, or http://127.0.0.1:7522. */
	readonly url?: string | undefined;
	/** Default SHALE_TOKEN of the environment. Sent as a bearer token. */
	readonly token?: string | undefined;
	/**
	 * For sessions, in place of the platform's own WebSocket, which cannot be paused: with `ws` a slow reader
	 * slows the program, without it what is unread waits in memory.
	 */
	readonly WebSocket?: WebSocketConstructor | undefined;
	/** In place of the platform's fetch, for everything but sessions. */
	readonly http?: Http | undefined;
	/**
	 * A daemon that has answered before and is away, as while it is restarted, is waited for so long. Default 60,000.
	 * Calls that must not be made twice are only made again when the daemon was not there to take them.
	 */
	readonly reconnectMs?: number | undefined;
}

export class Shale {
	readonly url: string;
	readonly sandboxes: Sandboxes;
	readonly layers: Layers;
	readonly #transport: Transport;

	/** @throws TypeError when the URL is not http or https. */
	constructor(options: ShaleOptions = {}) {
		this.#transport = new Transport({
			url: options.url ?? environment("SHALE_URL") ?? DEFAULT_URL,
			token: options.token ?? environment("SHALE_TOKEN"),
			WebSocket: options.WebSocket,
			http: options.http,
			reconnectMs: options.reconnectMs,
		});
		this.url = this.#transport.url;
		this.sandboxes = new Sandboxes(this.#transport);
		this.layers = new Layers(this.#transport);
	}

	/**
	 * What happens to sandboxes, from when the call resolves and until the loop is left. A stream that breaks throws: go on
	 * by giving the last event's id as `after`.
	 */
	async events({ sandbox, types, after, signal }: ListenEvents = {}): Promise<AsyncGenerator<SandboxEvent>> {
		const query = { sandbox, type: types };
		const headers = after === undefined ? {} : { "Last-Event-ID": after };
		return toData(
			await this.#transport.serverSentEvents("GET", apiPath("events"), { query, headers, signal }),
		);
	}

	/** Removes from the daemon's host what nobody owns; with `dryRun` it is only listed. */
	async gc({
		dryRun = false,
		signal,
	}: {
		readonly dryRun?: boolean | undefined;
		readonly signal?: AbortSignal | undefined;
	} = {}): Promise<GarbageReport> {
		return await this.#transport.json("POST", apiPath("gc"), { json: { dryRun }, signal });
	}

	/** What the daemon's host can do and what it lacks. */
	async doctor({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<DoctorReport> {
		return await this.#transport.json("GET", "/v1/doctor", { signal });
	}

	async version({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<DaemonVersion> {
		return await this.#transport.json("GET", "/v1/version", { signal });
	}

	/** Whether a daemon answers now. @throws as every call does when none does. */
	async health({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
		await this.#transport.send("GET", "/healthz", { signal, repeat: "never" });
	}
}

async function* toData(events: AsyncIterable<{ readonly data: unknown }>): AsyncGenerator<SandboxEvent> {
	for await (const { data } of events) yield data as SandboxEvent;
}

/** Undefined for an empty variable, and where there is no environment (Deno asks for permission through `process` too). */
function environment(name: string): string | undefined {
	const value = globalThis.process?.env?.[name];
	return value === "" ? undefined : value;
}
