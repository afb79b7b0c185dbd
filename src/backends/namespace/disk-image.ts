/** The writable layer on disk: a sparse ext4 image, whose size is the quota that the kernel holds. */
import { execFile } from "node:child_process";
import { open, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { ShaleError } from "../../lib/errors.ts";

const run = promisify(execFile);

const MKFS_DEADLINE_MS = 30_000;

/**
 * mke2fs(8) options: no journal, as the image dies with its sandbox; inode tables zeroed by the hole that a
 * sparse file is; no blocks reserved for root, so that the quota is what the user asked for.
 */
const MKFS_ARGUMENTS = [
	"-q",
	"-F",
	"-t",
	"ext4",
	"-m",
	"0",
	"-O",
	"^has_journal",
	"-E",
	"lazy_itable_init=1,nodiscard",
];

/** Makes the image; its blocks are allocated as they are written. Removes it again when that fails. */
export async function createDiskImage(hostPath: string, bytes: number): Promise<void> {
	try {
		const file = await open(hostPath, "wx", 0o600);
		await file.truncate(bytes).finally(() => file.close());
		await run("mkfs.ext4", [...MKFS_ARGUMENTS, hostPath], { timeout: MKFS_DEADLINE_MS });
	} catch (error) {
		await rm(hostPath, { force: true });
		throw new ShaleError("internal", `making the disk image ${hostPath}: ${String(error)}`, { cause: error });
	}
}
