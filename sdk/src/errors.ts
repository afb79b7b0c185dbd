/**
 * The typed errors of the client. Aborting is not among them: a call whose signal aborts rejects with the
 * signal's reason, as `fetch` does.
 */
import type { CommandResult } from "./types.ts";

/** The daemon's error codes: HTTP status, and whether the same request may succeed later. docs/errors.md. */
export const ERRORS = {
	invalid_argument: { status: 400, retryable: false },
	unauthenticated: { status: 401, retryable: false },
	forbidden: { status: 403, retryable: false },
	not_found: { status: 404, retryable: false },
	conflict: { status: 409, retryable: false },
	gone: { status: 410, retryable: false },
	too_large: { status: 413, retryable: false },
	unsupported: { status: 422, retryable: false },
	layer_damaged: { status: 422, retryable: false },
	resource_exhausted: { status: 429, retryable: true },
	cancelled: { status: 499, retryable: true },
	internal: { status: 500, retryable: false },
	unavailable: { status: 503, retryable: true },
	timeout: { status: 504, retryable: true },
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** What a daemon says went wrong: the body of an error answer, or the last event of a stream. */
export interface ErrorBody {
	readonly code: string;
	readonly message: string;
	readonly hint?: string | undefined;
	readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** The daemon refused or failed. */
export class ShaleApiError extends Error {
	override readonly name = "ShaleApiError";
	readonly code: ErrorCode;
	/** HTTP status; for an error within a stream, the status that its code stands for. */
	readonly status: number;
	readonly retryable: boolean;
	readonly hint: string | undefined;
	readonly details: Readonly<Record<string, unknown>> | undefined;

	/** A code of a newer daemon that this client does not know counts as `internal`. */
	constructor(body: ErrorBody, status?: number) {
		super(body.message);
		this.code = isErrorCode(body.code) ? body.code : "internal";
		this.status = status ?? ERRORS[this.code].status;
		this.retryable = ERRORS[this.code].retryable;
		this.hint = body.hint;
		this.details = body.details;
	}
}

function isErrorCode(code: string): code is ErrorCode {
	return Object.hasOwn(ERRORS, code);
}

/** No daemon answered, the connection broke, or what came was not Shale's protocol. */
export class ShaleConnectionError extends Error {
	override readonly name = "ShaleConnectionError";
	readonly retryable = true;
	/** The daemon is away: the next one may answer. Otherwise what came was wrong, or nobody waited any more. */
	readonly isLost: boolean;

	constructor(message: string, options: { readonly cause?: unknown; readonly isLost?: boolean } = {}) {
		super(message, "cause" in options ? { cause: options.cause } : undefined);
		this.isLost = options.isLost ?? false;
	}
}

/** A command that was run with `throwOnError` did not exit with 0. */
export class CommandFailedError extends Error {
	override readonly name = "CommandFailedError";
	readonly retryable = false;
	readonly result: CommandResult;

	constructor(argv: readonly string[], result: CommandResult) {
		const how = result.timedOut
			? "was killed at its timeout"
			: result.signal
				? `was killed by ${result.signal}`
				: `exited with ${result.exitCode}`;
		super(`${argv.join(" ")} ${how}`);
		this.result = result;
	}
}

/** The innermost system error code (`ECONNREFUSED`, …) below a failed fetch, or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
	for (let cause = error, depth = 0; cause instanceof Error && depth < 8; cause = cause.cause, depth++) {
		if ("code" in cause && typeof cause.code === "string" && /^E[A-Z]+$/.test(cause.code)) return cause.code;
		if (cause instanceof AggregateError && cause.errors.length > 0) {
			const code = systemErrorCode(cause.errors[0]);
			if (code !== undefined) return code;
		}
	}
	return undefined;
}
