/** Errors of this machine's files, as errors of Shale that name the path. */
import { type ErrorCode, errnoCode, ShaleError } from "../../lib/errors.ts";

const CODES: Readonly<Record<string, ErrorCode>> = {
	ENOENT: "not_found",
	EACCES: "forbidden",
	EPERM: "forbidden",
	EROFS: "forbidden",
	EEXIST: "conflict",
	EISDIR: "conflict",
	ENOTDIR: "conflict",
	ENOTEMPTY: "conflict",
	ELOOP: "conflict",
	EBUSY: "conflict",
	ENAMETOOLONG: "invalid_argument",
	ENOSPC: "resource_exhausted",
	EDQUOT: "resource_exhausted",
};

/** Runs `action`; what the system refuses is told as `doing: CODE`. Other errors pass. */
export async function onHost<T>(doing: string, action: () => Promise<T>): Promise<T> {
	try {
		return await action();
	} catch (error) {
		const errno = errnoCode(error);
		const code = errno === undefined ? undefined : CODES[errno];
		if (code === undefined) throw error;
		throw new ShaleError(code, `${doing}: ${errno}`, { cause: error });
	}
}
