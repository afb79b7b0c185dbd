/**
 * Who may ask. With a token: whoever knows it. Without one the daemon listens on loopback only, and what is kept out
 * are web pages in a browser of this machine: by DNS rebinding (Host) and by cross-origin requests (Origin).
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { ShaleError } from "../lib/errors.ts";

/** Headers of a request, by lower-case name. */
export interface RequestHeaders {
	readonly host: string | undefined;
	readonly origin: string | undefined;
	readonly authorization: string | undefined;
}

export type Guard = (headers: RequestHeaders, route: { readonly open: boolean }) => void;

/** The guard throws ShaleError: `unauthenticated`, or `forbidden`. */
export function createGuard(token: string | undefined): Guard {
	if (token === undefined) return guardLoopback;
	const expected = digest(`Bearer ${token}`);
	return ({ authorization }, { open }) => {
		if (open) return;
		if (authorization === undefined) {
			throw new ShaleError("unauthenticated", "this daemon needs a token", {
				hint: "Send the header Authorization: Bearer TOKEN; clients of Shale read it from SHALE_TOKEN.",
			});
		}
		// SECURITY: compared as digests of equal length, in constant time.
		if (!timingSafeEqual(digest(normalizeScheme(authorization)), expected)) {
			throw new ShaleError("unauthenticated", "the token in the Authorization header is not this daemon's");
		}
	};
}

/** The scheme is case-insensitive, RFC 9110 §11.1. */
function normalizeScheme(authorization: string): string {
	return /^bearer /i.test(authorization) ? `Bearer ${authorization.slice(7).trim()}` : authorization;
}

function digest(text: string): Buffer {
	return createHash("sha256").update(text).digest();
}

// SECURITY: a page whose name was rebound to 127.0.0.1 still sends its own name as Host.
function guardLoopback({ host, origin }: RequestHeaders): void {
	if (host === undefined || !isLoopbackHost(host)) {
		throw new ShaleError(
			"forbidden",
			`without a token the Host header must be a loopback name, not "${host ?? ""}"`,
			{
				hint: "Use http://127.0.0.1:PORT, or start the daemon with SHALE_TOKEN.",
			},
		);
	}
	if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`) {
		throw new ShaleError("forbidden", `without a token no request may come from the web page ${origin}`, {
			hint: "Start the daemon with SHALE_TOKEN, and have the page's server ask with it.",
		});
	}
}

const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

function isLoopbackHost(host: string): boolean {
	return LOOPBACK_HOST.test(host);
}
