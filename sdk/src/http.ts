/** One HTTP exchange, as little of it as the client needs, so that something faster than fetch can stand in. */

export interface HttpRequest {
	readonly method: string;
	readonly url: string;
	readonly headers: Readonly<Record<string, string>>;
	readonly body?: string | Blob | Uint8Array | ReadableStream<Uint8Array> | undefined;
	readonly signal?: AbortSignal | undefined;
}

export interface HttpAnswer {
	readonly status: number;
	/** To be read once. Leaving its loop early closes the connection; it throws when the connection breaks. */
	readonly body: AsyncIterable<Uint8Array>;
}

/** Rejects when no answer comes, and when the signal aborts. Must not give up because an answer is slow. */
export type Http = (request: HttpRequest) => Promise<HttpAnswer>;

/** By the platform's fetch. */
export const fetchHttp: Http = async ({ url, method, headers, body, signal }) => {
	const init: Record<string, unknown> = { method, headers, redirect: "error" };
	if (signal) init.signal = signal;
	if (body !== undefined) init.body = body;
	// Streams can only be sent so, and it changes nothing for the rest.
	if (body instanceof ReadableStream) init.duplex = "half";
	const dispatcher = patientDispatcher();
	if (dispatcher) init.dispatcher = dispatcher;
	const response = await fetch(url, init as RequestInit);
	return { status: response.status, body: response.body ?? new ReadableStream({ start: close }) };
};

function close(controller: ReadableStreamDefaultController<Uint8Array>): void {
	controller.close();
}

let patient: { readonly dispatcher: unknown } | undefined;

/**
 * Node's fetch gives up on an answer that is silent for five minutes, but a program may well be. Its agent is
 * only reachable by this symbol (undici's lib/global.js); where there is none (Deno, Bun), nothing is changed.
 */
function patientDispatcher(): unknown {
	patient ??= { dispatcher: createPatientDispatcher() };
	return patient.dispatcher;
}

function createPatientDispatcher(): unknown {
	// Node loads undici, and with it the agent, when one of its globals is first asked for.
	if (typeof Response !== "function") return undefined;
	const current = (globalThis as Record<symbol, unknown>)[Symbol.for("undici.globalDispatcher.1")];
	if (typeof current !== "object" || current === null) return undefined;
	const Agent = current.constructor as new (options: object) => unknown;
	return new Agent({ headersTimeout: 0, bodyTimeout: 0 });
}
