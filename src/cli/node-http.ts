/**
 * The SDK's HTTP by node:http. A verb lives for a tenth of a second, of which loading fetch and the WebAssembly
 * that it parses with would be more than half.
 */
import { once } from "node:events";
import { Agent, type ClientRequest, type IncomingMessage, request as startHttp } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Http, HttpRequest } from "../../sdk/src/index.ts";

/** Idle connections of it do not keep the process alive. */
const agent = new Agent({ keepAlive: true });

export const nodeHttp: Http = async (options) => {
	const request = await start(options);
	// What fails before the answer rejects below, what fails after it breaks the answer's body; each also is an
	// event here, which nobody else listens to.
	request.on("error", () => undefined);
	const answered: Promise<IncomingMessage[]> = once(request, "response");
	let bodyError: unknown;
	send(request, options.body).catch((error: unknown) => {
		bodyError = error;
	});
	// An answer that comes before all was sent counts, whatever then becomes of the rest.
	const [response] = await answered.catch((error: unknown) => {
		throw bodyError ?? error;
	});
	if (!response) throw new Error("no response");
	return { status: response.statusCode ?? 0, body: response };
};

async function start({ method, url, headers, body, signal }: HttpRequest): Promise<ClientRequest> {
	const length = typeof body === "object" && "size" in body ? { "Content-Length": body.size } : {};
	const options = { method, headers: { ...headers, ...length }, ...(signal ? { signal } : {}) };
	if (url.startsWith("http:")) return startHttp(url, { ...options, agent });
	const https = await import("node:https");
	return https.request(url, options);
}

async function send(request: ClientRequest, body: HttpRequest["body"]): Promise<void> {
	if (typeof body !== "object" || body instanceof Uint8Array) request.end(body);
	else await pipeline(toSource(body), request);
}

/** Web streams have a bridge of their own: as mere iterables they would not end the request. */
function toSource(body: Blob | AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
	const source = "stream" in body ? body.stream() : body;
	return source instanceof ReadableStream ? Readable.fromWeb(source) : source;
}
