/**
 * Answers of bytes, of any length. They are written to Node's own response, as web streams cost more than the bytes
 * do; the client's reading paces the source, so that memory stays at a few pieces. A body that cannot be finished is
 * cut off with its connection: no client takes it for whole (RFC 9112, section 8).
 */
import type { ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import type { Log } from "../lib/log.ts";
import { toErrorBody } from "./replies.ts";
import type { ApiContext } from "./route.ts";

export interface ByteAnswer {
	readonly status: 200 | 206;
	readonly headers: Readonly<Record<string, string>>;
	/** Of the body. Without it the body is chunked. */
	readonly lengthBytes?: number;
	/** Read once, to its end or to `return()`. */
	readonly data: AsyncIterable<Uint8Array>;
}

export interface ByteStreamOptions {
	readonly context: ApiContext;
	readonly log: Log;
	/** What goes on, for the log of an error. */
	readonly doing: string;
	/** The connection is cut when nothing moves for so long. Default {@link STALL_MS}. */
	readonly stallMs?: number;
}

/** Long enough for a disk or a network that hangs for a while; each connection that hangs holds a worker. */
export const STALL_MS = 300_000;

export const BYTE_HEADERS = { "cache-control": "no-store", "x-content-type-options": "nosniff" } as const;

export function bytesReply(answer: ByteAnswer, options: ByteStreamOptions): Response {
	const { status, lengthBytes } = answer;
	const headers: Record<string, string> = { ...BYTE_HEADERS, ...answer.headers };
	if (lengthBytes !== undefined) headers["content-length"] = String(lengthBytes);
	const { outgoing } = (options.context.env ?? {}) as Partial<HttpBindings>;
	if (!outgoing) return new Response(ReadableStream.from(counted(answer)), { status, headers });
	void send(answer, headers, { outgoing: outgoing as ServerResponse, ...options });
	return RESPONSE_ALREADY_SENT;
}

async function send(
	answer: ByteAnswer,
	headers: Readonly<Record<string, string>>,
	{ outgoing, log, doing, stallMs = STALL_MS }: ByteStreamOptions & { readonly outgoing: ServerResponse },
): Promise<void> {
	try {
		if (outgoing.destroyed) {
			// The client left before the answer began, and nobody else would end the source.
			await answer.data[Symbol.asyncIterator]().return?.();
			return;
		}
		outgoing.writeHead(answer.status, headers);
		outgoing.setTimeout(stallMs, () => outgoing.destroy());
		await pipeline(counted(answer), outgoing);
	} catch (error) {
		outgoing.destroy();
		// That the client has gone is its own affair.
		if (!isPrematureClose(error)) toErrorBody(error, log, doing);
	}
}

/** Fails when there is more or less than was announced. */
async function* counted({ data, lengthBytes }: ByteAnswer): AsyncGenerator<Uint8Array> {
	let sentBytes = 0;
	for await (const chunk of data) {
		sentBytes += chunk.length;
		if (lengthBytes !== undefined && sentBytes > lengthBytes) break;
		yield chunk;
	}
	if (lengthBytes !== undefined && sentBytes !== lengthBytes) {
		throw new Error(`the source gave ${sentBytes} bytes instead of ${lengthBytes}`);
	}
}

function isPrematureClose(error: unknown): boolean {
	return error instanceof Error && "code" in error && error.code === "ERR_STREAM_PREMATURE_CLOSE";
}
