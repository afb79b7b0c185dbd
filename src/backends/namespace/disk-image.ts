/** The writable layer on disk: a sparse ext4 image, whose size is the quota that the kernel holds. */
import { execFile } from "node:child_process";
import { open, realpath, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { ShaleError } from "../../lib/errors.ts";
import { listLoops } from "../../linux/loops.ts";

const run = promisify(execFile);

const MKFS_DEADLINE_MS = 30_000;
/** Repair reads all of a large image at worst; one that was unmounted is known to be clean at once. */
const FSCK_DEADLINE_MS = 300_000;
/** The kernel unmounts and writes back after the last process; only a slow disk takes longer. */
const DETACH_DEADLINE_MS = 30_000;
const PAUSE_MS = 5;

/**
 * mke2fs(8) options: no journal, as what a sandbox writes need not outlive a crash of the host; inode tables zeroed
 * by the hole that a sparse file is; no blocks reserved for root, so that the quota is what the user asked for.
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

/**
 * Makes an image of before fit to be mounted: waits until nobody has it, and repairs what a crash of the host left,
 * at the price of files that were being written then. @throws ShaleError `timeout`, or `internal` with e2fsck's words.
 */
export async function reopenDiskImage(hostPath: string): Promise<void> {
	// Two mounts of one image would destroy it.
	await waitUntilDetached(hostPath);
	try {
		await run("e2fsck", ["-y", hostPath], { timeout: FSCK_DEADLINE_MS });
	} catch (error) {
		const { code, stdout } = error as { code?: unknown; stdout?: unknown };
		// e2fsck(8): 1 and 2 are repaired.
		if (code === 1 || code === 2) return;
		throw new ShaleError(
			"internal",
			`the disk image ${hostPath} cannot be used: ${String(stdout || error)}`,
			{
				hint: "Destroy the sandbox.",
				cause: error,
			},
		);
	}
}

/** Returns when no loop device has the image: then all is written. @throws ShaleError `timeout`. */
export async function waitUntilDetached(hostPath: string): Promise<void> {
	const deadline = Date.now() + DETACH_DEADLINE_MS;
	// As the kernel names it.
	const realHostPath = await realpath(hostPath);
	while ((await listLoops()).some(({ backingHostPath }) => backingHostPath === realHostPath)) {
		if (Date.now() > deadline) {
			throw new ShaleError("timeout", `the disk image ${hostPath} is still mounted`, {
				hint: "A process of its sandbox is stuck in the kernel, or somebody has mounted it.",
			});
		}
		await sleep(PAUSE_MS);
	}
}
