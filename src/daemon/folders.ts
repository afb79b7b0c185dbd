/**
 * The daemon's folders. When it is to be an ordinary user, they become that user's, but for the folder `run` and the
 * jailer's in it, which stay root's: what is in a user's folder may be replaced by that user.
 */
import type { Stats } from "node:fs";
import { chmod, lchown, lstat, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import { type Config, daemonPaths } from "./config.ts";
import type { ServiceUser } from "./service-user.ts";

const OWN = 0o700;
/** Others may go through it, to a folder that is theirs. */
const THROUGH = 0o711;

/** Makes those that are missing; `user` is undefined when the daemon stays what it is. */
export async function makeFolders(
	config: Pick<Config, "data" | "run">,
	user: ServiceUser | undefined,
): Promise<void> {
	const { layers, recipes, uppers, jailer, sockets } = daemonPaths(config);
	for (const folder of [layers, uppers, jailer, sockets]) await makeFolder(folder);
	if (user === undefined) return;
	await chmod(config.run, THROUGH);
	// Layers stay as they are: the jailer takes root's as well, and all may read them.
	await handOver(layers, user, { withFiles: false });
	if ((await lstatIfThere(recipes)) !== undefined) await handOver(recipes, user, { withFiles: true });
	for (const folder of [uppers, sockets, config.data]) await handOver(folder, user, { withFiles: true });
}

async function makeFolder(hostPath: string): Promise<void> {
	try {
		await mkdir(hostPath, { recursive: true, mode: OWN });
	} catch (error) {
		throw new ShaleError("unavailable", `making the folder ${hostPath}: ${String(error)}`, {
			hint: "The daemon must be able to write to the folders that SHALE_DATA and SHALE_RUN name.",
			cause: error,
		});
	}
}

/**
 * SECURITY: root changes nothing in a folder that the user could write to before: what is there may be a link to
 * somebody else's file. Such a folder has been handed over already.
 */
async function handOver(
	folder: string,
	{ uid, gid }: ServiceUser,
	{ withFiles }: { readonly withFiles: boolean },
): Promise<void> {
	const stats = await lstat(folder);
	if (stats.isDirectory() && stats.uid === uid) return;
	if (!stats.isDirectory() || stats.uid !== 0 || (stats.mode & 0o022) !== 0) throw strange(folder, uid);
	for (const name of withFiles ? await readdir(folder) : []) {
		const hostPath = join(folder, name);
		if (isOurs(await lstatIfThere(hostPath))) await lchown(hostPath, uid, gid);
	}
	await lchown(folder, uid, gid);
}

/** Files that have another name as well are somebody else's too. */
function isOurs(stats: Stats | undefined): boolean {
	return stats !== undefined && (stats.isSocket() || (stats.isFile() && stats.nlink === 1));
}

/** A sandbox that lives may remove what we see. */
async function lstatIfThere(hostPath: string): Promise<Stats | undefined> {
	try {
		return await lstat(hostPath);
	} catch (error) {
		if (errnoCode(error) === "ENOENT") return undefined;
		throw error;
	}
}

function strange(folder: string, uid: number): ShaleError {
	return new ShaleError("invalid_argument", `${folder} cannot become the folder of user ${uid}`, {
		hint: "It must be a folder of that user, or of root with nobody else writing to it, and no symbolic link.",
	});
}
