/** Files that are whole or absent: written beside their place, synced, then renamed over it (rename(2)). */
import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

/** Replaces `hostPath` by `content`. After a crash the file is the old or the new one, never a part. */
export async function writeFileAtomic(
	hostPath: string,
	content: string | Uint8Array,
	{ mode = 0o644 }: { readonly mode?: number } = {},
): Promise<void> {
	const partial = join(dirname(hostPath), `.partial-${randomUUID()}`);
	try {
		const file = await open(partial, "wx", mode);
		try {
			await file.writeFile(content);
			await file.sync();
		} finally {
			await file.close();
		}
		await rename(partial, hostPath);
	} catch (error) {
		await rm(partial, { force: true });
		throw error;
	}
	await syncFolder(dirname(hostPath));
}

/** Makes renames in a folder durable: a rename is on disk only when its folder is synced. */
export async function syncFolder(hostPath: string): Promise<void> {
	const folder = await open(hostPath, "r");
	try {
		await folder.sync();
	} finally {
		await folder.close();
	}
}
