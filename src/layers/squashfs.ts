/** squashfs images: what their superblock says, and how they are made from a tree and unpacked into one. */
import { open, writeFile } from "node:fs/promises";
import { ShaleError } from "../lib/errors.ts";
import { type ProgramOptions, runProgram } from "./run-program.ts";

/** Documentation/filesystems/squashfs.rst of Linux, and fs/squashfs/squashfs_fs.h. Little endian. */
const SUPERBLOCK_BYTES = 96;
const MAGIC = 0x73717368;
const MAJOR_VERSION = 4;

/**
 * zstd at level 1 makes the base in 0.7 s where the default (15) takes 17 s, for a fifth more size; both read
 * equally fast.
 */
const COMPRESSION = ["-comp", "zstd", "-Xcompression-level", "1"];

/** mksquashfs takes a quarter of the memory unless told; reading ahead pays nothing beyond this. */
const MEMORY = ["-mem", "512M"];

/**
 * Checks that the file begins like a squashfs 4 image that fits into it. Throws `invalid_argument`: the caller
 * says which layer it was. The content is the kernel's to check when it is mounted.
 */
export async function checkSquashfs(hostPath: string): Promise<void> {
	const file = await open(hostPath, "r");
	try {
		const superblock = Buffer.alloc(SUPERBLOCK_BYTES);
		const { bytesRead } = await file.read(superblock, 0, SUPERBLOCK_BYTES, 0);
		const problem = findProblem(superblock.subarray(0, bytesRead), (await file.stat()).size);
		if (problem) throw new ShaleError("invalid_argument", `this is no squashfs image: ${problem}`);
	} finally {
		await file.close();
	}
}

function findProblem(superblock: Buffer, fileBytes: number): string | undefined {
	if (superblock.length < SUPERBLOCK_BYTES)
		return `it has ${superblock.length} bytes, less than a superblock`;
	if (superblock.readUInt32LE(0) !== MAGIC) return "it does not begin with `hsqs`";
	const major = superblock.readUInt16LE(28);
	if (major !== MAJOR_VERSION) return `its version is ${major}, not ${MAJOR_VERSION}`;
	const blockBytes = superblock.readUInt32LE(12);
	if (blockBytes !== 2 ** superblock.readUInt16LE(22))
		return `its block size of ${blockBytes} contradicts itself`;
	const usedBytes = superblock.readBigUInt64LE(40);
	if (usedBytes < SUPERBLOCK_BYTES) return "its size is less than its superblock";
	if (usedBytes > fileBytes) return `it says it has ${usedBytes} bytes, the file has ${fileBytes}`;
	return undefined;
}

/**
 * Makes an image at `imagePath`, which must not exist, from the tree below `hostFolder`. The same tree (names,
 * content, modes, owners, times) gives the same bytes. `whiteouts` are paths that shall be hidden in the layers
 * below. Extended attributes are left out: on many hosts they describe the host (labels, `user.*`), and no
 * program of the shipped recipes carries file capabilities.
 */
export async function makeSquashfs(
	hostFolder: string,
	imagePath: string,
	{ whiteouts = [], ...options }: ProgramOptions & { readonly whiteouts?: readonly string[] },
): Promise<void> {
	const args = [
		hostFolder,
		imagePath,
		"-noappend",
		"-no-progress",
		"-quiet",
		"-no-xattrs",
		"-mkfs-time",
		"0",
	];
	args.push(...COMPRESSION, ...MEMORY);
	if (whiteouts.length > 0) {
		const listPath = `${imagePath}.whiteouts`;
		await writeFile(listPath, whiteouts.map(toWhiteout).join(""), { flag: "wx" });
		args.push("-pf", listPath);
	}
	await runProgram("mksquashfs", args, options);
}

/** A character device 0:0 hides what is below it (Documentation/filesystems/overlayfs.rst, "whiteouts"). */
function toWhiteout(path: string): string {
	return `${path.replace(/[\s\\"]/g, (character) => `\\${character}`)} c 0 0 0 0 0\n`;
}

/** Unpacks an image into `hostFolder`, which must not exist. Owners and modes are kept. */
export async function unpackSquashfs(
	imagePath: string,
	hostFolder: string,
	options: ProgramOptions,
): Promise<void> {
	await runProgram(
		"unsquashfs",
		["-no-progress", "-quiet", "-no-xattrs", "-dest", hostFolder, imagePath],
		options,
	);
}
