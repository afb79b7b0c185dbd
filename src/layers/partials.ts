/**
 * Work folders inside the layer store: `.partial-<pid>-<start>-<random>`, on the store's own file system so that
 * a finished image can be renamed into place. The name says whose it is, so that what a dead process left can be
 * told from what a living one is still writing.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import { runProgram } from "./run-program.ts";

const PREFIX = ".partial-";

/** A partial without an owner in its name is a manifest being written, which takes milliseconds. */
const OWNERLESS_MAX_AGE_MS = 60_000;

/** Makes an empty work folder, readable by its owner only. Who makes it removes it with {@link removeTree}. */
export async function createPartial(hostFolder: string): Promise<string> {
	const start = await readStartTicks(process.pid);
	const hostPath = join(hostFolder, `${PREFIX}${process.pid}-${start}-${randomUUID().slice(0, 8)}`);
	await mkdir(hostPath, { mode: 0o700 });
	return hostPath;
}

/** Host paths of the partials whose process is gone. */
export async function listStalePartials(hostFolder: string): Promise<string[]> {
	const stale: string[] = [];
	for (const name of await readdir(hostFolder)) {
		if (name.startsWith(PREFIX) && (await isStale(hostFolder, name))) stale.push(join(hostFolder, name));
	}
	return stale;
}

/** Removes the partials whose process is gone. One that cannot be removed stays for the next time. */
export async function removeStalePartials(
	hostFolder: string,
	onError: (error: unknown) => void,
): Promise<void> {
	for (const hostPath of await listStalePartials(hostFolder)) await removeTree(hostPath).catch(onError);
}

async function isStale(hostFolder: string, name: string): Promise<boolean> {
	const owner = /^\.partial-(\d+)-(\d+)-/.exec(name);
	if (owner) return (await readStartTicks(Number(owner[1]))) !== owner[2];
	try {
		return Date.now() - (await stat(join(hostFolder, name))).mtimeMs > OWNERLESS_MAX_AGE_MS;
	} catch (error) {
		if (errnoCode(error) === "ENOENT") return false;
		throw error;
	}
}

/** When the process started, in clock ticks since boot (proc(5), stat, field 22): tells a reused pid apart. */
async function readStartTicks(hostPid: number): Promise<string | undefined> {
	try {
		const text = await readFile(`/proc/${hostPid}/stat`, "utf8");
		// The second field is the program's name in brackets and may itself hold spaces and brackets.
		return text.slice(text.lastIndexOf(")") + 2).split(" ")[19];
	} catch (error) {
		if (errnoCode(error) === "ENOENT" || errnoCode(error) === "ESRCH") return undefined;
		throw error;
	}
}

/**
 * Removes a folder and all below it. rm(1) and not Node's, as it stops at mount points: had a killed child left a
 * mount in the tree, its other side must not be deleted. Retried, as a killed child may still write its last file.
 */
export async function removeTree(hostPath: string): Promise<void> {
	for (let attempt = 1; ; attempt++) {
		try {
			await runProgram("rm", ["-rf", "--one-file-system", "--", hostPath]);
			return;
		} catch (error) {
			if (!(error instanceof ShaleError) || attempt === 5) throw error;
			await sleep(100 * attempt);
		}
	}
}
