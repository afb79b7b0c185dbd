/** The failures of talking to an agent: it refused, it broke the protocol, or the connection is gone. */

import { constants } from "node:os";
import type { PayloadReader } from "./frames.ts";

export interface AgentErrorOptions {
	/** For example "ENOENT": the agent's reason, in errno(3)'s names. */
	readonly errnoName?: string;
	readonly isOtherVersion?: boolean;
	readonly cause?: unknown;
}

/** `errnoName` is there when the agent answered a request with an error, and EPIPE for a stdin that takes no more. */
export class AgentError extends Error {
	override readonly name = "AgentError";
	readonly errnoName: string | undefined;
	/** The agent is of a Shale with another protocol: its sandbox lives, and nothing can be asked of it. */
	readonly isOtherVersion: boolean;

	constructor(message: string, options: AgentErrorOptions = {}) {
		super(message, options.cause === undefined ? undefined : { cause: options.cause });
		this.errnoName = options.errnoName;
		this.isOtherVersion = options.isOtherVersion ?? false;
	}
}

const errnoNames = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
	// EAGAIN and EWOULDBLOCK share a number; the first is the usual name.
	if (!errnoNames.has(number)) errnoNames.set(number, name);
}

/** "ENOENT" for 2; "errno 4000" for what this host does not know. */
export function toErrnoName(errno: number): string {
	return errnoNames.get(errno) ?? `errno ${errno}`;
}

/** What the agent sent is against the protocol. The connection is closed: nothing after it can be trusted. */
export function toViolation(what: string): AgentError {
	return new AgentError(`the agent broke the protocol: ${what}`);
}

/** An ERROR frame as an error whose message begins with what it is about. */
export function parseError(payload: PayloadReader, subject: string): AgentError {
	const errnoName = toErrnoName(payload.takeU32());
	const message = payload.takeText(1024);
	payload.finish();
	return new AgentError(`${subject}: ${message} (${errnoName})`, { errnoName });
}
