/** The ordinary user that the daemon becomes: who that is, and the giving up of root's rights. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { ShaleError } from "../lib/errors.ts";

export interface ServiceUser {
	readonly uid: number;
	readonly gid: number;
}

export const SERVICE_USER_PATTERN = /^(?:[a-z_][a-z0-9_.-]*\$?|\d+)(?::\d+)?$/i;

/**
 * Who `NAME`, `UID` or either with `:GID` is. Names are those of /etc/passwd; a uid that is not in it has the group of
 * the same number. @throws ShaleError `invalid_argument` for one that is unknown, or root.
 */
export async function findServiceUser(text: string, passwdHostPath = "/etc/passwd"): Promise<ServiceUser> {
	const [name = "", group] = text.split(":");
	const isNumber = /^\d+$/.test(name);
	const entries = (await readFile(passwdHostPath, "utf8")).split("\n").map((line) => line.split(":"));
	const entry = entries.find((fields) => fields[isNumber ? 2 : 0] === name);
	if (entry === undefined && !isNumber) {
		throw invalidUser(
			text,
			"there is no such user in /etc/passwd",
			"Name it by its number: SHALE_USER=1000:1000",
		);
	}
	const uid = Number(entry?.[2] ?? name);
	const gid = Number(group ?? entry?.[3] ?? name);
	if (uid === 0 || gid === 0) {
		throw invalidUser(text, "it has root's rights", "Leave `user` out to run the daemon as root.");
	}
	return { uid, gid };
}

function invalidUser(text: string, why: string, hint: string): ShaleError {
	return new ShaleError("invalid_argument", `user ${text}: ${why}`, { hint });
}

/**
 * From here on this process is the user: in each of its threads, with no groups but the user's, no capabilities, and
 * no way back. @throws ShaleError `internal` when that is not so; then the process must end.
 */
export async function becomeServiceUser({ uid, gid }: ServiceUser): Promise<void> {
	process.setgroups?.([]);
	process.setgid?.(gid);
	process.setuid?.(uid);
	const tasks = "/proc/self/task";
	for (const task of await readdir(tasks)) {
		const left = findRights(await readFile(join(tasks, task, "status"), "utf8"), { uid, gid });
		if (left !== undefined) throw new ShaleError("internal", `giving up root's rights failed: ${left}`);
	}
	if (canReturn()) throw new ShaleError("internal", "giving up root's rights failed: they can be had again");
}

/** A line of /proc/PID/status that says of other rights than the user's. */
export function findRights(status: string, { uid, gid }: ServiceUser): string | undefined {
	const wanted: Readonly<Record<string, string>> = {
		Uid: Array(4).fill(uid).join(" "),
		Gid: Array(4).fill(gid).join(" "),
		Groups: "",
		CapInh: "0000000000000000",
		CapPrm: "0000000000000000",
		CapEff: "0000000000000000",
		CapAmb: "0000000000000000",
	};
	return Object.entries(wanted)
		.map(([name, value]) => ({ value, line: new RegExp(`^${name}:(.*)$`, "m").exec(status) }))
		.find(({ value, line }) => line?.[1]?.trim().split(/\s+/).join(" ") !== value)?.line?.[0];
}

function canReturn(): boolean {
	try {
		process.setuid?.(0);
		return true;
	} catch {
		return false;
	}
}
