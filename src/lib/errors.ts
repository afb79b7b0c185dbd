/**
 * The one error class of Shale and the one table of its codes. HTTP status, CLI exit code and `retryable`
 * are derived from the code, so that every front end answers alike.
 */

interface ErrorKind {
	/** HTTP status, RFC 9110 §15. */
	readonly status: number;
	/** Exit code of CLI verbs; `run` and `exec` use 125 instead, as their exit codes belong to the program. */
	readonly exitCode: number;
	/** True when the same request may succeed later without a change by the caller. */
	readonly retryable: boolean;
	readonly meaning: string;
}

export const ERRORS = {
	invalid_argument: {
		status: 400,
		exitCode: 2,
		retryable: false,
		meaning: "a field is wrong; the message names it",
	},
	unauthenticated: { status: 401, exitCode: 3, retryable: false, meaning: "no token, or a wrong one" },
	forbidden: { status: 403, exitCode: 3, retryable: false, meaning: "the request may not be made this way" },
	not_found: { status: 404, exitCode: 4, retryable: false, meaning: "what the request names does not exist" },
	conflict: {
		status: 409,
		exitCode: 5,
		retryable: false,
		meaning: "the state or an existing name forbids it",
	},
	gone: {
		status: 410,
		exitCode: 5,
		retryable: false,
		meaning: "it existed, and its history is no longer kept",
	},
	too_large: {
		status: 413,
		exitCode: 6,
		retryable: false,
		meaning: "the request or a part of it is over its limit",
	},
	unsupported: {
		status: 422,
		exitCode: 6,
		retryable: false,
		meaning: "this host or backend cannot apply what was asked for",
	},
	layer_damaged: {
		status: 422,
		exitCode: 6,
		retryable: false,
		meaning: "a layer's file is not what its manifest says",
	},
	resource_exhausted: {
		status: 429,
		exitCode: 7,
		retryable: true,
		meaning: "the host has no room for it now",
	},
	cancelled: { status: 499, exitCode: 8, retryable: true, meaning: "the caller gave up" },
	internal: { status: 500, exitCode: 1, retryable: false, meaning: "a fault of Shale; the log says more" },
	unavailable: {
		status: 503,
		exitCode: 9,
		retryable: true,
		meaning: "a part that is needed does not answer now",
	},
	timeout: { status: 504, exitCode: 9, retryable: true, meaning: "a deadline passed" },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorOptions {
	/** What the user can do about it, as a full sentence. */
	readonly hint?: string;
	/** Facts for programs, JSON-serialisable; never secrets. */
	readonly details?: Readonly<Record<string, unknown>>;
	readonly cause?: unknown;
}

/** An error with a code of {@link ERRORS}. The message says what was attempted, on what, and why it failed. */
export class ShaleError extends Error {
	override readonly name = "ShaleError";
	readonly code: ErrorCode;
	readonly hint: string | undefined;
	readonly details: Readonly<Record<string, unknown>> | undefined;

	constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
		super(message, options.cause === undefined ? undefined : { cause: options.cause });
		this.code = code;
		this.hint = options.hint;
		this.details = options.details;
	}

	get status(): number {
		return ERRORS[this.code].status;
	}

	get exitCode(): number {
		return ERRORS[this.code].exitCode;
	}

	get retryable(): boolean {
		return ERRORS[this.code].retryable;
	}
}

/** What the kernel says when the host is short of something, errno(3): no fault of Shale's, and it may pass. */
const HOST_FAILURES: Readonly<Record<string, { readonly code: ErrorCode; readonly hint: string }>> = {
	ENOSPC: { code: "resource_exhausted", hint: "The disk is full: free some space." },
	EDQUOT: { code: "resource_exhausted", hint: "The disk quota is used up: free some space." },
	EMFILE: {
		code: "resource_exhausted",
		hint: "The daemon may open no more files: raise its limit (nofile).",
	},
	ENFILE: { code: "resource_exhausted", hint: "The host has no more open files left: sysctl fs.file-max." },
	ENOMEM: { code: "resource_exhausted", hint: "The host is out of memory." },
	EROFS: { code: "unavailable", hint: "The file system is mounted read-only." },
};

/** The error as a ShaleError: itself, what the host is short of, or `internal` around anything else. */
export function toShaleError(error: unknown): ShaleError {
	if (error instanceof ShaleError) return error;
	const message = error instanceof Error ? error.message : String(error);
	const { code, hint } = HOST_FAILURES[errnoCode(error) ?? ""] ?? {};
	return new ShaleError(code ?? "internal", message, { ...(hint && { hint }), cause: error });
}

/** The `code` of a Node system error (`ENOENT`, …), or undefined for any other value. */
export function errnoCode(error: unknown): string | undefined {
	if (!(error instanceof Error) || !("code" in error)) return undefined;
	return typeof error.code === "string" ? error.code : undefined;
}
