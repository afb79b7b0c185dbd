/** Trees of files that are about to become layers: making them, evening them out, and comparing two. */
import { chmod, chown, lstat, lutimes, mkdir, open, readdir, readlink, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { MIB } from "../lib/units.ts";
import { throwIfCancelled } from "./run-program.ts";

/** The time of everything that a build itself wrote: 2000-01-01, late enough for zip archives (1980). */
const BUILD_TIME_S = 946_684_800;

/** File times are taken from a clock that ticks every 1 to 10 ms and so lags behind. */
const CLOCK_SLACK_MS = 20;

/** Makes the folders of `guestPath` below `tree`, each 0755 whatever our umask is. Returns the host path. */
export async function makeFolders(tree: string, guestPath: string): Promise<string> {
	let hostPath = tree;
	await makeFolder(hostPath);
	for (const name of guestPath.split("/").filter((part) => part !== "" && part !== ".")) {
		hostPath = join(hostPath, name);
		await makeFolder(hostPath);
	}
	return hostPath;
}

async function makeFolder(hostPath: string): Promise<void> {
	if ((await mkdir(hostPath, { recursive: true })) !== undefined) await chmod(hostPath, 0o755);
}

/** Calls `visit` for all below `hostFolder`, parents first, names sorted. Symbolic links are not followed. */
export async function walkTree(
	hostFolder: string,
	visit: (path: string, kind: "folder" | "file" | "link" | "other") => Promise<unknown>,
	signal?: AbortSignal,
): Promise<void> {
	const walk = async (path: string): Promise<void> => {
		throwIfCancelled(signal, "the build");
		const entries = await readdir(join(hostFolder, path), { withFileTypes: true });
		for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
			const child = path === "" ? entry.name : `${path}/${entry.name}`;
			const kind = entry.isDirectory()
				? "folder"
				: entry.isFile()
					? "file"
					: entry.isSymbolicLink()
						? "link"
						: "other";
			await visit(child, kind);
			if (kind === "folder") await walk(child);
		}
	};
	await walk("");
}

/**
 * Evens out what differs from one build to the next: folders, and all that was written after `startedMs`, get a
 * fixed time. Files keep the times that their package gave them, as compiled Python files are tied to the time of
 * their source. The root becomes 0755 of root: the root of the highest layer is the `/` of a sandbox.
 */
export async function evenOutTree(
	hostFolder: string,
	startedMs: number,
	signal?: AbortSignal,
): Promise<void> {
	await walkTree(
		hostFolder,
		async (path, kind) => {
			const hostPath = join(hostFolder, path);
			const { mtimeMs } = await lstat(hostPath);
			if (kind === "folder" || mtimeMs >= startedMs - CLOCK_SLACK_MS) {
				await lutimes(hostPath, BUILD_TIME_S, BUILD_TIME_S);
			}
		},
		signal,
	);
	await chown(hostFolder, 0, 0);
	await chmod(hostFolder, 0o755);
	await lutimes(hostFolder, BUILD_TIME_S, BUILD_TIME_S);
}

/**
 * Removes from `tree` all that is the same in `base` (kind, mode, owner, content; times do not count), so that what
 * stays makes `tree` out of `base` when it is laid over it. Returns the paths that `base` has and `tree` had not:
 * these need whiteouts. Folders that hold something stay, with their modes.
 */
export async function keepDifference(tree: string, base: string, signal?: AbortSignal): Promise<string[]> {
	const whiteouts = await listMissing(base, tree, signal);
	const folders: string[] = [];
	await walkTree(
		tree,
		async (path, kind) => {
			if (kind === "folder") folders.push(path);
			else if (await isSame(join(tree, path), join(base, path))) await rm(join(tree, path));
		},
		signal,
	);
	const needed = new Set(whiteouts.map((path) => path.slice(0, Math.max(0, path.lastIndexOf("/")))));
	for (const path of folders.reverse()) {
		const isEmpty = (await readdir(join(tree, path))).length === 0;
		if (isEmpty && !needed.has(path) && (await isSame(join(tree, path), join(base, path)))) {
			await rmdir(join(tree, path));
		}
	}
	return whiteouts;
}

/** What is in `base` and not in `tree`; of a missing folder only itself. */
async function listMissing(base: string, tree: string, signal: AbortSignal | undefined): Promise<string[]> {
	const missing: string[] = [];
	await walkTree(
		base,
		async (path) => {
			const parent = missing.at(-1);
			if (parent !== undefined && path.startsWith(`${parent}/`)) return;
			const found = await lstat(join(tree, path)).catch(() => undefined);
			if (!found) missing.push(path);
		},
		signal,
	);
	return missing;
}

async function isSame(hostPath: string, basePath: string): Promise<boolean> {
	const base = await lstat(basePath).catch(() => undefined);
	const own = await lstat(hostPath);
	if (!base || base.mode !== own.mode || base.uid !== own.uid || base.gid !== own.gid) return false;
	if (own.isDirectory()) return true;
	if (own.isSymbolicLink()) return (await readlink(hostPath)) === (await readlink(basePath));
	if (own.isFile()) return own.size === base.size && (await haveSameContent(hostPath, basePath));
	return own.rdev === base.rdev;
}

async function haveSameContent(hostPath: string, basePath: string): Promise<boolean> {
	const [one, other] = [await open(hostPath, "r"), await open(basePath, "r")];
	try {
		const [a, b] = [Buffer.alloc(MIB), Buffer.alloc(MIB)];
		for (;;) {
			const { bytesRead } = await one.read(a, 0, MIB, null);
			const { bytesRead: otherRead } = await other.read(b, 0, MIB, null);
			if (bytesRead !== otherRead || a.compare(b, 0, bytesRead, 0, bytesRead) !== 0) return false;
			if (bytesRead === 0) return true;
		}
	} finally {
		await one.close();
		await other.close();
	}
}
