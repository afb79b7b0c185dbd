/** One HTTP exchange, as little of it as the client needs, so that something faster than fetch can stand in. */

export interface HttpRequest {
	readonly method: string;
	readonly url: string;
	readonly headers: Readonly<Record<string, string>>;
	/** Anything that is iterated is sent as it comes, and read once. */
	readonly body?: string | Blob | Uint8Array | AsyncIterable<Uint8Array> | undefined;
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
	init.body = isIterated(body) ? toReadableStream(body) : body;
	// Streams can only be sent so, and it changes nothing for the rest.
	if (init.body instanceof ReadableStream) init.duplex = "half";
	const dispatcher = patientDispatcher();
	if (dispatcher) init.dispatcher = dispatcher;
	const response = await fetch(url, init as RequestInit);
	return { status: response.status, body: response.body ?? new ReadableStream({ start: close }) };
};

function isIterated(body: HttpRequest["body"]): body is AsyncIterable<Uint8Array> {
	return typeof body === "object" && Symbol.asyncIterator in body;
}

/** Asks for the next piece only when it is wanted; cancelling ends the source. */
export function toReadableStream(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
	if (source instanceof ReadableStream) return source;
	const iterator = source[Symbol.asyncIterator]();
	return new ReadableStream<Uint8Array>(
		{
			async pull(controller) {
				const { done, value } = await iterator.next();
				if (done) controller.close();
				else controller.enqueue(value);
			},
			async cancel() {
				await iterator.return?.();
			},
		},
		{ highWaterMark: 0 },
	);
}

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
