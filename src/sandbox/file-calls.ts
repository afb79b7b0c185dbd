/** A call about files of a sandbox: it is one operation of the agent, which ends when the call does. */
import { AgentError } from "../agent/agent-error.ts";
import {
	type FileOperation,
	FileOperationError,
	type FileRequest,
	openFileOperation,
} from "../agent/files.ts";
import { type ErrorCode, ShaleError } from "../lib/errors.ts";
import { type Core, getRecord, holdActive, toCallError, withAgent } from "./core.ts";
import type { FileAccess } from "./file-types.ts";

/** What is done to which path of which sandbox, and whose rights count. */
export interface Call extends FileAccess {
	readonly core: Core;
	readonly id: string;
	/** As in "reading /etc/passwd": messages begin with it. */
	readonly doing: string;
	readonly request: FileRequest;
	/** How long `begin` of {@link stream} may take. Default: no limit. */
	readonly answerMs?: number;
}

/** Runs an operation to its end, or closes it. */
export function operate<T>(call: Call, use: (operation: FileOperation) => Promise<T>): Promise<T> {
	return stream(call, async (operation) => {
		try {
			return await use(operation);
		} finally {
			operation.close();
		}
	});
}

/** Starts an operation that goes on after `begin`, unless that throws. */
export function stream<T>(call: Call, begin: (operation: FileOperation) => Promise<T>): Promise<T> {
	const { core, id, request, signal, answerMs } = call;
	const user = getUser(call);
	return withAgent(core, id, async (agent) => {
		// The agent's own word for root, for which it reads no /etc/passwd.
		const operation = openFileOperation(agent, request, { user: user === "0" ? "" : user, signal });
		const late = Promise.withResolvers<never>();
		const onLate = () =>
			late.reject(
				new ShaleError("timeout", `${call.doing} in sandbox ${id}: no answer within ${answerMs} ms`),
			);
		const timer = answerMs === undefined ? undefined : setTimeout(onLate, answerMs);
		try {
			return await Promise.race([begin(operation), late.promise]);
		} catch (error) {
			operation.close();
			throw toError(call, error);
		} finally {
			clearTimeout(timer);
		}
	});
}

/**
 * What comes after `begin`, as `next` takes it from the operation until it is undefined. Leaving the loop, also before it
 * has begun, closes the operation. Until then the sandbox is in use.
 */
export function toIterable<T extends object>(
	call: Call,
	operation: FileOperation,
	next: () => Promise<T | undefined>,
): AsyncIterableIterator<T, undefined> {
	const release = holdActive(call.core, call.id);
	call.signal?.addEventListener("abort", release, { once: true });
	const close = () => {
		operation.close();
		call.signal?.removeEventListener("abort", release);
		release();
	};
	return {
		[Symbol.asyncIterator]() {
			return this;
		},
		async next() {
			try {
				const value = await next();
				if (value) return { done: false, value };
				close();
				return { done: true, value: undefined };
			} catch (error) {
				close();
				throw await toCallError(call.core, call.id, toError(call, error));
			}
		},
		async return() {
			close();
			return { done: true, value: undefined };
		},
	};
}

function getUser({ core, id, user }: Call): string {
	return user ?? getRecord(core, id).user;
}

/** What a worker's errno means for the caller, and in words. */
const REASONS: Readonly<Record<string, readonly [code: ErrorCode, text: string]>> = {
	ENOENT: ["not_found", "no such file or directory"],
	EACCES: ["forbidden", "permission denied"],
	EPERM: ["forbidden", "operation not permitted"],
	EROFS: ["forbidden", "read-only file system"],
	EEXIST: ["conflict", "it exists already"],
	ENOTEMPTY: ["conflict", "the directory is not empty"],
	ENOTDIR: ["conflict", "not a directory"],
	EISDIR: ["conflict", "it is a directory"],
	EBUSY: ["conflict", "it is a mount point, or in use"],
	ELOOP: ["conflict", "too many symbolic links"],
	EXDEV: ["conflict", "it would lead to another file system, or outside of the directory"],
	ETXTBSY: ["conflict", "the program is running"],
	EAGAIN: ["conflict", "another program keeps changing it"],
	ENOSPC: ["resource_exhausted", "no space left"],
	EDQUOT: ["resource_exhausted", "the quota is used up"],
	ENOMEM: ["resource_exhausted", "out of memory"],
	EMFILE: ["resource_exhausted", "too many open files"],
	ENFILE: ["resource_exhausted", "too many open files"],
	EMLINK: ["resource_exhausted", "too many links"],
	EFBIG: ["too_large", "the file is too large"],
	EINVAL: ["invalid_argument", "not possible with a file of this kind"],
	ENAMETOOLONG: ["invalid_argument", "the name is too long, or the tree too deep"],
	EIO: ["unavailable", "input/output error"],
	ESTALE: ["unavailable", "the file system has lost it"],
	ENXIO: ["unsupported", "no such device"],
	EOPNOTSUPP: ["unsupported", "the file system does not support it"],
};

/** AgentErrors stay, for toCallError; so does what is none of ours, such as the source's own failure. */
function toError(call: Call, error: unknown): unknown {
	const { id, doing, signal } = call;
	if (signal?.aborted) return new ShaleError("cancelled", `${doing} in sandbox ${id}: the caller gave up`);
	if (!(error instanceof FileOperationError)) return error;
	const { errnoName, subject, detail } = error;
	if (subject === "user") {
		return new ShaleError("invalid_argument", `user: the sandbox has no user or group "${getUser(call)}"`, {
			hint: "Give numbers, such as 1000:1000, or names of its /etc/passwd and /etc/group.",
		});
	}
	const reason = REASONS[errnoName];
	if (!reason) return new AgentError(`${doing}: ${errnoName}`, { errnoName, cause: error });
	const [code, text] = reason;
	// With EINVAL and EIO the worker says what was wrong; otherwise where.
	const isExplained = detail !== "" && (errnoName === "EINVAL" || errnoName === "EIO");
	const why = isExplained ? detail : detail === "" ? text : `${text} (${detail})`;
	return new ShaleError(code, `${doing} in sandbox ${id}: ${why}`, {
		cause: error,
		details: { errno: errnoName },
	});
}
