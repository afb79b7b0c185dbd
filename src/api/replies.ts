/** Answers. Headers are shared objects, so that the server's fast path need not copy them. */
import { type ErrorCode, ShaleError, toShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";

const JSON_HEADERS = {
	"content-type": "application/json; charset=utf-8",
	"cache-control": "no-store",
	"x-content-type-options": "nosniff",
} as const;

const EMPTY_HEADERS = { "cache-control": "no-store" } as const;

/** Most of what is short is so for seconds: pressures are averages over ten. */
const EXHAUSTED_HEADERS = { ...JSON_HEADERS, "retry-after": "5" } as const;

const UNAUTHENTICATED_HEADERS = { ...JSON_HEADERS, "www-authenticate": "Bearer" } as const;

export function jsonReply(status: number, value: unknown): Response {
	return new Response(JSON.stringify(value), { status, headers: JSON_HEADERS });
}

export function emptyReply(status: number): Response {
	return new Response(null, { status, headers: EMPTY_HEADERS });
}

export function textReply(text: string, mediaType = "text/plain"): Response {
	return new Response(text, { headers: { ...JSON_HEADERS, "content-type": `${mediaType}; charset=utf-8` } });
}

/** The same error everywhere: as a body, as an event in a stream, as a message of a WebSocket. */
export interface ErrorBody {
	readonly code: ErrorCode;
	readonly message: string;
	readonly hint?: string;
	readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * What a client is told. An `internal` error is logged here, once, and told without its message, which may name
 * things of the host.
 */
export function toErrorBody(error: unknown, log: Log, doing: string): ErrorBody {
	const { code, message, hint, details } = toShaleError(error);
	if (code === "internal") {
		log.error({ err: error, doing }, "a request failed by a fault of Shale");
		return { code, message: "a fault of Shale; the daemon's log says more" };
	}
	return {
		code,
		message,
		...(hint === undefined ? {} : { hint }),
		...(details === undefined ? {} : { details }),
	};
}

export function errorReply(error: unknown, log: Log, doing: string): Response {
	const { status, code } = toShaleError(error);
	return new Response(JSON.stringify(toErrorBody(error, log, doing)), { status, headers: toHeaders(code) });
}

function toHeaders(code: ErrorCode) {
	if (code === "unauthenticated") return UNAUTHENTICATED_HEADERS;
	return code === "resource_exhausted" ? EXHAUSTED_HEADERS : JSON_HEADERS;
}

/** For paths and methods that no route has. */
export function noRoute(method: string, path: string, allowed: readonly string[]): ShaleError {
	return new ShaleError(
		"not_found",
		allowed.length === 0
			? `nothing is at ${path.slice(0, 200)}`
			: `${method} is not possible at ${path.slice(0, 200)}; allowed: ${allowed.join(", ")}`,
		{ hint: "GET /openapi.json lists all routes, and /docs shows them." },
	);
}
