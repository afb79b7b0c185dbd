/** Reads bodies: JSON whole and limited, everything else as a stream. */
import { isUtf8 } from "node:buffer";
import { Readable } from "node:stream";
import { ShaleError } from "../lib/errors.ts";
import { MIB } from "../lib/units.ts";
import { STALL_MS } from "./byte-stream.ts";
import { type ApiContext, findIncoming } from "./route.ts";

export const JSON_BODY_BYTES = 8 * MIB;

/** A client that sends a part of its JSON and then nothing is hung up on. */
const JSON_BODY_DEADLINE_MS = 30_000;

/**
 * The request's JSON.
 * @throws ShaleError `invalid_argument` when it is none, `too_large` beyond {@link JSON_BODY_BYTES}.
 */
export async function readJson(context: ApiContext): Promise<unknown> {
	const request = context.req.raw;
	const mediaType = request.headers.get("content-type");
	// SECURITY: web pages can send other types to any origin without asking (Fetch standard, "simple" requests).
	if (mediaType === null || !/^application\/json\s*(?:;|$)/i.test(mediaType)) {
		throw new ShaleError(
			"invalid_argument",
			`the Content-Type header must be application/json, not ${mediaType ?? "absent"}`,
		);
	}
	const body = await readLimited(context, request.headers.get("content-length"));
	// Invalid bytes would silently become U+FFFD in arguments and files' names.
	if (!isUtf8(body)) {
		throw new ShaleError("invalid_argument", "the body is not valid UTF-8 (RFC 8259 §8.1)", {
			hint: "Send bytes as base64 where the field allows it.",
		});
	}
	try {
		return JSON.parse(body.toString("utf8"));
	} catch (error) {
		const reason = error instanceof Error ? error.message : String(error);
		throw new ShaleError("invalid_argument", `the body is not JSON: ${reason.slice(0, 200)}`);
	}
}

async function readLimited(context: ApiContext, contentLength: string | null): Promise<Buffer> {
	if (contentLength === null) return readCounted(context.req.raw);
	if (Number(contentLength) > JSON_BODY_BYTES) throw tooLarge();
	// The parser holds the body to its Content-Length, so it may be read at once.
	const incoming = findIncoming(context);
	const deadline = incoming && setTimeout(() => incoming.destroy(), JSON_BODY_DEADLINE_MS);
	try {
		return Buffer.from(await context.req.raw.arrayBuffer());
	} catch (error) {
		throw brokenOff(error);
	} finally {
		clearTimeout(deadline);
	}
}

/** For chunked bodies, whose length only reading tells. */
async function readCounted(request: Request): Promise<Buffer> {
	const parts: Uint8Array[] = [];
	let length = 0;
	const deadline = AbortSignal.timeout(JSON_BODY_DEADLINE_MS);
	const reader = request.body?.getReader();
	const stop = () => void reader?.cancel().catch(() => undefined);
	deadline.addEventListener("abort", stop, { once: true });
	try {
		for (let part = await reader?.read(); part?.value; part = await reader?.read()) {
			length += part.value.length;
			if (length > JSON_BODY_BYTES) throw tooLarge();
			parts.push(part.value);
		}
	} catch (error) {
		throw error instanceof ShaleError ? error : brokenOff(error);
	} finally {
		deadline.removeEventListener("abort", stop);
	}
	if (deadline.aborted) throw new ShaleError("timeout", "the body did not come to its end in time");
	return Buffer.concat(parts, length);
}

function tooLarge(): ShaleError {
	return new ShaleError("too_large", `the JSON body is over ${JSON_BODY_BYTES / MIB} MiB`);
}

/** Nobody is left to be told, but it is no fault of ours either. */
function brokenOff(cause: unknown): ShaleError {
	return new ShaleError("cancelled", "the client went away before its body was whole", { cause });
}

/** As {@link readBytes}, as a stream. */
export function readStream(context: ApiContext): Readable {
	return Readable.from(readBytes(context), { objectMode: false });
}

/**
 * The body as it comes, with back-pressure. It fails with `cancelled` when the client goes away in the middle, or sends
 * nothing for `stallMs` (default {@link STALL_MS}).
 */
export async function* readBytes(
	context: ApiContext,
	{ stallMs = STALL_MS }: { readonly stallMs?: number } = {},
): AsyncGenerator<Uint8Array> {
	const incoming = findIncoming(context);
	const hangUp = () => void incoming?.destroy();
	incoming?.setTimeout(stallMs, hangUp);
	try {
		// Ending early must not close the connection: the answer says why the rest was not read.
		yield* incoming?.iterator({ destroyOnReturn: false }) ?? context.req.raw.body ?? [];
	} catch (error) {
		throw brokenOff(error);
	} finally {
		incoming?.off("timeout", hangUp).setTimeout(0);
	}
}
