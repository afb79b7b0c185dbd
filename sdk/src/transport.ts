/** Requests to one daemon: addresses, the token, error answers, streams of events, the WebSocket's opening. */
import { type ErrorBody, ShaleApiError, ShaleConnectionError, systemErrorCode } from "./errors.ts";
import { fetchHttp, type Http, type HttpAnswer } from "./http.ts";
import { readNdjson } from "./ndjson.ts";
import { DEFAULT_RECONNECT_MS, Patience, type ReconnectOptions } from "./patience.ts";
import { readServerSentEvents, type ServerSentEvent } from "./sse.ts";

export const DEFAULT_URL = "http://127.0.0.1:7522";

/** The part of a WebSocket that is used. `pause` and `resume`, which `ws` has, let a slow reader slow the program. */
export interface WebSocketLike {
	binaryType: string;
	readonly bufferedAmount: number;
	readonly readyState: number;
	send(data: string | Uint8Array): void;
	close(code?: number, reason?: string): void;
	addEventListener(type: "open", listener: () => void): void;
	addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
	addEventListener(
		type: "close",
		listener: (event: { readonly code: number; readonly reason: string }) => void,
	): void;
	addEventListener(type: "error", listener: (event: unknown) => void): void;
	pause?(): void;
	resume?(): void;
}

export interface WebSocketOptions {
	readonly headers: Readonly<Record<string, string>>;
	/** Output is short-lived and local: compressing it costs more than it saves. */
	readonly perMessageDeflate: false;
}

export type WebSocketConstructor = new (url: string, options: WebSocketOptions) => WebSocketLike;

export interface TransportOptions {
	readonly url: string;
	readonly token?: string | undefined;
	/** In place of the platform's own, which cannot be paused; `ws` fits. */
	readonly WebSocket?: WebSocketConstructor | undefined;
	/** In place of the platform's fetch. */
	readonly http?: Http | undefined;
	/** How long a daemon that has answered before is waited for. */
	readonly reconnectMs?: number | undefined;
}

export type QueryValues = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * What becomes of a request whose connection is lost. `always`: it is sent again, as it does the same twice as once.
 * `unsent`: only when no daemon took it. `never`: the caller does that itself, or wants to know.
 */
export type Repeat = "always" | "unsent" | "never";

export interface RequestOptions {
	readonly query?: QueryValues | undefined;
	/** Sent as JSON. */
	readonly json?: unknown;
	/** Sent as it is, streamed when it is a stream. */
	readonly body?: Blob | Uint8Array | AsyncIterable<Uint8Array> | undefined;
	/** On top of those that every request has. */
	readonly headers?: Readonly<Record<string, string>> | undefined;
	readonly accept?: string | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Default: `always` for GET, `never` for a body that is iterated, otherwise `unsent`. */
	readonly repeat?: Repeat | undefined;
}

/** A stream of events is never silent for so long: after a third of it the daemon says that it still lives. */
export const SILENCE_MS = 45_000;

/** Error bodies beyond this are cut: they are shown to people. */
const MAX_ERROR_BYTES = 64 * 1024;

export class Transport {
	readonly url: string;
	readonly #headers: Readonly<Record<string, string>>;
	readonly #WebSocket: WebSocketConstructor | undefined;
	readonly #http: Http;
	readonly #reconnectMs: number;
	#wasReached = false;

	/** @throws TypeError when the URL is not http or https. */
	constructor({ url, token, reconnectMs, WebSocket: socketConstructor, http }: TransportOptions) {
		const base = new URL(url);
		if (base.protocol !== "http:" && base.protocol !== "https:") {
			throw new TypeError(`${url} is not an http or https URL`);
		}
		this.url = base.href.replace(/\/+$/, "");
		this.#headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
		this.#WebSocket = socketConstructor;
		this.#http = http ?? fetchHttp;
		this.#reconnectMs = reconnectMs ?? DEFAULT_RECONNECT_MS;
	}

	/** For one thing that is begun now and goes on over lost connections. */
	patience(options: ReconnectOptions = {}): Patience {
		const reconnectMs = options.reconnectMs ?? this.#reconnectMs;
		return new Patience({ ...options, reconnectMs, wasReached: () => this.#wasReached });
	}

	/** A daemon has answered, over a WebSocket. */
	noteAnswer(): void {
		this.#wasReached = true;
	}

	/**
	 * One request; the answer's body is not read yet.
	 * @throws ShaleApiError for an error answer, ShaleConnectionError when none came, or the signal's reason.
	 */
	async request(method: string, path: string, options: RequestOptions = {}): Promise<HttpAnswer> {
		return await this.#patiently(method, options, () => this.#ask(method, path, options));
	}

	/** Runs `action` until a daemon has answered, as far as it may be repeated. */
	async #patiently<T>(method: string, options: RequestOptions, action: () => Promise<T>): Promise<T> {
		const { body, signal, repeat = defaultRepeat(method, body) } = options;
		const patience = repeat === "never" ? undefined : this.patience({ signal });
		for (;;) {
			try {
				return await action();
			} catch (error) {
				const isUnsent = systemErrorCode(error) === "ECONNREFUSED";
				if (!patience || (repeat === "unsent" && !isUnsent)) throw error;
				await patience.wait(error);
			}
		}
	}

	async #ask(method: string, path: string, options: RequestOptions): Promise<HttpAnswer> {
		const { query, json, body, accept = "application/json", signal } = options;
		const headers: Record<string, string> = { ...this.#headers, ...options.headers, Accept: accept };
		if (json !== undefined) headers["Content-Type"] = "application/json";
		else if (body !== undefined) headers["Content-Type"] = "application/octet-stream";
		const answer = await this.#guard(signal, () =>
			this.#http({
				method,
				url: this.#address(path, query),
				headers,
				body: json === undefined ? body : JSON.stringify(json),
				signal,
			}),
		);
		this.#wasReached = true;
		if (answer.status < 200 || answer.status > 299) throw await readError(answer);
		return answer;
	}

	async text(method: string, path: string, options: RequestOptions = {}): Promise<string> {
		return await this.#patiently(method, options, async () => {
			const { body } = await this.#ask(method, path, { accept: "text/plain", ...options });
			return await this.#guard(options.signal, () => readText(body));
		});
	}

	async json<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
		const text = await this.text(method, path, { accept: "application/json", ...options });
		return await this.#guard(options.signal, async () => JSON.parse(text) as T);
	}

	/** The bytes of an answer as they come, from when it has begun. Leaving the loop early closes the connection. */
	async bytes(
		method: string,
		path: string,
		options: RequestOptions = {},
	): Promise<AsyncGenerator<Uint8Array>> {
		const { body } = await this.request(method, path, { accept: "*/*", ...options });
		return this.#guarded(body, options.signal);
	}

	/** For answers without content. */
	async send(method: string, path: string, options: RequestOptions = {}): Promise<void> {
		// Read, not cancelled: the connection can then be used again.
		await this.text(method, path, options);
	}

	/**
	 * The events of a streamed answer. Leaving the loop early closes the request. An `error` event is thrown.
	 * A stream that ends without an event whose type is in `last` has failed, and so has one that is silent for long.
	 */
	async *events(
		method: string,
		path: string,
		{ last, ...options }: RequestOptions & { readonly last: readonly string[] },
	): AsyncGenerator<Readonly<Record<string, unknown>>> {
		const silence = new SilenceWatch(options.signal);
		const { signal } = silence;
		try {
			const asked = { accept: "application/x-ndjson", ...options, signal };
			const { body } = await this.request(method, path, asked);
			for await (const event of silence.watch(readNdjson(body))) {
				if (event.type === "keepalive") continue;
				if (event.type === "error") throw new ShaleApiError(toErrorBody(event));
				yield event;
				if (typeof event.type === "string" && last.includes(event.type)) return;
			}
		} catch (error) {
			throw this.#connectionError(error, signal);
		} finally {
			silence.end();
		}
		throw new ShaleConnectionError("the daemon closed the stream before its end", { isLost: true });
	}

	/**
	 * The server-sent events of an answer, from when it has begun. Leaving the loop early closes the request. An `error`
	 * event is thrown; a stream that closes without an `end` event has failed.
	 */
	async serverSentEvents(
		method: string,
		path: string,
		options: RequestOptions = {},
	): Promise<AsyncGenerator<ServerSentEvent>> {
		const body = await this.bytes(method, path, { accept: "text/event-stream", ...options });
		return untilEnd(readServerSentEvents(body));
	}

	/**
	 * A WebSocket that is about to open. The caller adds its listeners at once.
	 * The token travels in a header, which Node, Deno and Bun can send; browsers cannot.
	 */
	openSocket(path: string, query?: QueryValues): WebSocketLike {
		const Constructor = this.#WebSocket ?? (globalThis.WebSocket as unknown as WebSocketConstructor);
		const socket = new Constructor(this.#address(path, query).replace(/^http/, "ws"), {
			headers: this.#headers,
			perMessageDeflate: false,
		});
		socket.binaryType = "arraybuffer";
		return socket;
	}

	#address(path: string, query: RequestOptions["query"] = {}): string {
		const search = new URLSearchParams();
		for (const [name, value] of Object.entries(query)) {
			for (const one of typeof value === "string" ? [value] : (value ?? [])) search.append(name, one);
		}
		return `${this.url}${path}${search.size > 0 ? `?${search}` : ""}`;
	}

	async #guard<T>(signal: AbortSignal | undefined, action: () => Promise<T>): Promise<T> {
		try {
			signal?.throwIfAborted();
			return await action();
		} catch (error) {
			throw this.#connectionError(error, signal);
		}
	}

	async *#guarded(
		body: AsyncIterable<Uint8Array>,
		signal: AbortSignal | undefined,
	): AsyncGenerator<Uint8Array> {
		try {
			yield* body;
		} catch (error) {
			throw this.#connectionError(error, signal);
		}
	}

	#connectionError(error: unknown, signal: AbortSignal | undefined): unknown {
		if (signal?.aborted) return signal.reason;
		if (error instanceof ShaleApiError || error instanceof ShaleConnectionError) return error;
		const why = systemErrorCode(error) ?? (error instanceof Error ? error.message : String(error));
		return new ShaleConnectionError(`no answer from the daemon at ${this.url}: ${why}`, {
			cause: error,
			isLost: !(error instanceof SyntaxError),
		});
	}
}

function defaultRepeat(method: string, body: RequestOptions["body"]): Repeat {
	if (body !== undefined && Symbol.asyncIterator in body) return "never";
	return method === "GET" ? "always" : "unsent";
}

/** Gives up on an answer that is silent although it is read. A reader that takes its time hears nothing either. */
class SilenceWatch {
	readonly signal: AbortSignal;
	readonly #silent = new AbortController();
	readonly #timer: ReturnType<typeof setInterval>;
	#waitsSince: number | undefined;

	constructor(signal: AbortSignal | undefined) {
		this.signal = signal ? AbortSignal.any([signal, this.#silent.signal]) : this.#silent.signal;
		this.#timer = setInterval(() => this.#check(), SILENCE_MS / 3);
	}

	async *watch<T>(events: AsyncIterable<T>): AsyncGenerator<T> {
		this.#waitsSince = performance.now();
		for await (const event of events) {
			this.#waitsSince = undefined;
			yield event;
			this.#waitsSince = performance.now();
		}
	}

	end(): void {
		clearInterval(this.#timer);
	}

	#check(): void {
		if (this.#waitsSince === undefined || performance.now() - this.#waitsSince < SILENCE_MS) return;
		const message = `the daemon's answer was silent for ${SILENCE_MS / 1000} s`;
		this.#silent.abort(new ShaleConnectionError(message, { isLost: true }));
	}
}

async function* untilEnd(events: AsyncIterable<ServerSentEvent>): AsyncGenerator<ServerSentEvent> {
	for await (const event of events) {
		if (event.event === "error") throw new ShaleApiError(toErrorBody(event.data));
		if (event.event === "end") return;
		yield event;
	}
	throw new ShaleConnectionError("the daemon closed the stream before its end");
}

/** `/v1/sandboxes/ID/…` with every part escaped. */
export function apiPath(...parts: readonly string[]): string {
	return `/v1/${parts.map(encodeURIComponent).join("/")}`;
}

async function readError({ status, body }: HttpAnswer): Promise<ShaleApiError> {
	const text = await readText(body, MAX_ERROR_BYTES).catch(() => "");
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		// Something between us and the daemon answered; what it said is the best there is to show.
		value = { message: `HTTP ${status}: ${text.trim().slice(0, 200)}` };
	}
	return new ShaleApiError(toErrorBody(value), status);
}

async function readText(
	body: AsyncIterable<Uint8Array>,
	maxBytes = Number.POSITIVE_INFINITY,
): Promise<string> {
	const decoder = new TextDecoder();
	let text = "";
	let readBytes = 0;
	for await (const chunk of body) {
		text += decoder.decode(chunk, { stream: true });
		readBytes += chunk.byteLength;
		if (readBytes >= maxBytes) break;
	}
	return text + decoder.decode();
}

/** The error body within an untrusted value. */
export function toErrorBody(value: unknown): ErrorBody {
	const body = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
	return {
		code: typeof body.code === "string" ? body.code : "internal",
		message: typeof body.message === "string" ? body.message : "the daemon failed without saying why",
		...(typeof body.hint === "string" ? { hint: body.hint } : {}),
		...(typeof body.details === "object" && body.details !== null
			? { details: body.details as Record<string, unknown> }
			: {}),
	};
}
