/** Files of this machine that appear under their name when they are whole. */
import { randomBytes } from "node:crypto";
import { chmod, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Bytes } from "./ends.ts";

/** Mode, without which a new file gets what the umask leaves, and time of what is made. */
export interface HostAttributes {
	readonly mode?: number | undefined;
	readonly modifiedAt?: Date | undefined;
}

/** Makes something under a name of its own beside `hostPath`, then gives it that name. Never follows a symlink there. */
export async function placeAtomically(
	hostPath: string,
	make: (hostPath: string) => Promise<void>,
): Promise<void> {
	// Short, as the name itself may be as long as names can be.
	const freshHostPath = join(dirname(hostPath), `.shale-${randomBytes(6).toString("hex")}`);
	try {
		await make(freshHostPath);
		await rename(freshHostPath, hostPath);
	} finally {
		// Also after success: rename(2) does nothing between two names of one file.
		await rm(freshHostPath, { force: true });
	}
}

export async function writeHostFile(
	hostPath: string,
	data: Bytes,
	attributes: HostAttributes,
): Promise<void> {
	const { mode, modifiedAt } = attributes;
	await placeAtomically(hostPath, async (freshHostPath) => {
		// "wx" fails on anything that is there, symlinks too: open(2), O_EXCL.
		const file = await open(freshHostPath, "wx", mode === undefined ? 0o666 : 0o600);
		try {
			await file.writeFile(data);
			if (modifiedAt) await file.utimes(modifiedAt, modifiedAt);
		} finally {
			await file.close();
		}
		if (mode !== undefined) await chmod(freshHostPath, mode);
	});
}
