/** Acts on the processes in a sandbox's cgroups: list, freeze, thaw, kill; and finds the cgroups that are there. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import { type CgroupLayout, type Controller, HOST_LEAF } from "./cgroup-layout.ts";
import type { CgroupPaths } from "./cgroup-plan.ts";

/** The kernel freezes in about 3 ms; a process inside a slow system call takes longer. */
const FREEZE_DEADLINE_MS = 5000;
const KILL_DEADLINE_MS = 10_000;
const PAUSE_MS = 2;

/** All cgroups below the layout's parent: one entry a sandbox, whichever hierarchies still have it. */
export async function listCgroups({ unified, v1 }: CgroupLayout): Promise<CgroupPaths[]> {
	const found = new Map<string, { unified: string | undefined; v1: Partial<Record<Controller, string>> }>();
	const entry = (name: string) => {
		const known = found.get(name) ?? { unified: undefined, v1: {} };
		found.set(name, known);
		return known;
	};
	if (unified !== undefined) {
		for (const name of await listChildren(unified.parentHostPath)) {
			entry(name).unified = join(unified.parentHostPath, name);
		}
	}
	for (const [controller, parentHostPath] of Object.entries(v1)) {
		for (const name of await listChildren(parentHostPath)) {
			entry(name).v1[controller as Controller] = join(parentHostPath, name);
		}
	}
	found.delete(HOST_LEAF);
	return [...found].map(([name, paths]) => ({ name, ...paths }));
}

/** Host pids in the sandbox's cgroups and in those that it made below. Zombies are not among them. */
export async function listProcesses(paths: CgroupPaths): Promise<number[]> {
	const hostPids = new Set<number>();
	for (const hostPath of hierarchiesOf(paths)) await collectProcesses(hostPath, hostPids);
	return [...hostPids];
}

async function collectProcesses(hostPath: string, into: Set<number>): Promise<void> {
	for (const line of (await readOrEmpty(join(hostPath, "cgroup.procs"))).split("\n")) {
		if (line !== "") into.add(Number(line));
	}
	for (const name of await listChildren(hostPath)) await collectProcesses(join(hostPath, name), into);
}

/**
 * Stops all processes where they are; returns when all have stopped. Throws `unsupported` without a hierarchy that
 * can, and `timeout` (thawed again) when a process is stuck in the kernel.
 */
export async function freeze(paths: CgroupPaths): Promise<void> {
	await writeFreezer(paths, true);
	const deadline = Date.now() + FREEZE_DEADLINE_MS;
	while (!(await isFrozen(paths))) {
		if (Date.now() > deadline) {
			await thaw(paths);
			throw new ShaleError("timeout", `Freezing ${paths.name} took over ${FREEZE_DEADLINE_MS} ms`, {
				hint: "One of its processes is stuck in a system call; it runs again.",
			});
		}
		await sleep(PAUSE_MS);
	}
}

/** Lets the processes go on. May be repeated. */
export async function thaw(paths: CgroupPaths): Promise<void> {
	await writeFreezer(paths, false);
}

/**
 * Kills every process and returns when none is left; fine when the cgroups are gone. Works on frozen sandboxes.
 * Throws `timeout` when a process is stuck in the kernel.
 */
export async function killAndWait(paths: CgroupPaths): Promise<void> {
	const deadline = Date.now() + KILL_DEADLINE_MS;
	for (;;) {
		const hostPids = await killRound(paths);
		if (hostPids.length === 0) return;
		if (Date.now() > deadline) {
			throw new ShaleError("timeout", `Killing ${paths.name}: processes ${hostPids.join(", ")} do not end`, {
				hint: "They are stuck in the kernel, most likely on a disk or network filesystem.",
			});
		}
		await sleep(PAUSE_MS);
	}
}

/** Returns the processes that it found. */
async function killRound(paths: CgroupPaths): Promise<number[]> {
	const { unified, v1 } = paths;
	// cgroup.kill (Linux 5.14) takes all at once, also against a fork bomb.
	if (unified !== undefined) await writeIfThere(join(unified, "cgroup.kill"), "1");
	const hostPids = await listProcesses(paths);
	for (const hostPid of hostPids) sendKill(hostPid);
	// A v1 freezer holds even killed processes.
	if (v1.freezer !== undefined) await writeIfThere(join(v1.freezer, "freezer.state"), "THAWED");
	return hostPids;
}

function sendKill(hostPid: number): void {
	try {
		process.kill(hostPid, "SIGKILL");
	} catch (error) {
		if (errnoCode(error) !== "ESRCH") throw error;
	}
}

async function writeFreezer({ name, unified, v1 }: CgroupPaths, frozen: boolean): Promise<void> {
	if (unified !== undefined) await writeFile(join(unified, "cgroup.freeze"), frozen ? "1" : "0");
	else if (v1.freezer !== undefined)
		await writeFile(join(v1.freezer, "freezer.state"), frozen ? "FROZEN" : "THAWED");
	else {
		throw new ShaleError("unsupported", `${name} cannot be paused: it has no cgroup that freezes`, {
			hint: "Mount cgroup v2, or the v1 freezer controller.",
		});
	}
}

async function isFrozen({ unified, v1 }: CgroupPaths): Promise<boolean> {
	if (unified !== undefined) return /^frozen 1$/m.test(await readOrEmpty(join(unified, "cgroup.events")));
	return (
		v1.freezer !== undefined && (await readOrEmpty(join(v1.freezer, "freezer.state"))).trim() === "FROZEN"
	);
}

function hierarchiesOf({ unified, v1 }: CgroupPaths): Set<string> {
	return new Set([...(unified === undefined ? [] : [unified]), ...Object.values(v1)]);
}

const GONE = new Set(["ENOENT", "ENODEV"]);

async function listChildren(hostPath: string): Promise<string[]> {
	try {
		const entries = await readdir(hostPath, { withFileTypes: true });
		return entries.filter((child) => child.isDirectory()).map((child) => child.name);
	} catch (error) {
		if (GONE.has(errnoCode(error) ?? "")) return [];
		throw error;
	}
}

async function readOrEmpty(hostPath: string): Promise<string> {
	try {
		return await readFile(hostPath, "utf8");
	} catch (error) {
		// EOPNOTSUPP: cgroup.procs of a threaded cgroup; its processes are listed by the cgroup above.
		if (GONE.has(errnoCode(error) ?? "") || errnoCode(error) === "EOPNOTSUPP") return "";
		throw error;
	}
}

async function writeIfThere(hostPath: string, value: string): Promise<void> {
	try {
		await writeFile(hostPath, value);
	} catch (error) {
		if (!GONE.has(errnoCode(error) ?? "")) throw error;
	}
}
