/** Finds the cgroups of sandboxes and the processes in them, and kills these. Reading needs no privilege; the jailer acts. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import { type CgroupLayout, type Controller, exists, HOST_LEAF } from "./cgroup-layout.ts";
import { type CgroupPaths, hierarchiesOf, parentsOf, planRemoveParents } from "./cgroup-plan.ts";
import { PlanError } from "./jailer.ts";
import { type Op, op } from "./plan.ts";

const KILL_DEADLINE_MS = 10_000;
const PAUSE_MS = 2;

/** Has the jailer execute operations. */
export type RunOps = (ops: readonly Op[]) => Promise<unknown>;

/** All cgroups below the layout's parent: one entry a sandbox, whichever hierarchies still have it. */
export async function listCgroups(layout: CgroupLayout): Promise<CgroupPaths[]> {
	const names = new Map<string, string[]>();
	for (const parentHostPath of parentsOf(layout)) {
		for (const name of await listChildren(parentHostPath)) {
			names.set(name, [...(names.get(name) ?? []), join(parentHostPath, name)]);
		}
	}
	names.delete(HOST_LEAF);
	return [...names].map(([name, hostPaths]) => toPaths(layout, name, new Set(hostPaths)));
}

/** Takes the parents away, unless a sandbox has a cgroup below them. */
export async function removeUnusedParents(run: RunOps, layout: CgroupLayout): Promise<void> {
	if ((await listCgroups(layout)).length > 0) return;
	try {
		await run(planRemoveParents(layout));
	} catch (error) {
		// Where the jailer is gone for good, somebody else is to remove them.
		if (!(error instanceof ShaleError && error.code === "unavailable")) throw error;
	}
}

/** The cgroups of one sandbox, as far as they are there. */
export async function findCgroups(layout: CgroupLayout, name: string): Promise<CgroupPaths> {
	const there = new Set<string>();
	for (const parentHostPath of parentsOf(layout)) {
		const hostPath = join(parentHostPath, name);
		if (await exists(hostPath)) there.add(hostPath);
	}
	return toPaths(layout, name, there);
}

function toPaths({ unified, v1 }: CgroupLayout, name: string, there: ReadonlySet<string>): CgroupPaths {
	const found: Partial<Record<Controller, string>> = {};
	for (const [controller, parentHostPath] of Object.entries(v1)) {
		const hostPath = join(parentHostPath, name);
		if (there.has(hostPath)) found[controller as Controller] = hostPath;
	}
	const hostPath = unified && join(unified.parentHostPath, name);
	return { name, unified: hostPath !== undefined && there.has(hostPath) ? hostPath : undefined, v1: found };
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
 * Kills every process and returns when none is left; fine when the cgroups are gone. Throws `timeout` when a process
 * is stuck in the kernel.
 */
export async function killAndWait(run: RunOps, paths: CgroupPaths): Promise<void> {
	const deadline = Date.now() + KILL_DEADLINE_MS;
	// The unified one has all processes and takes them at once, also against a fork bomb.
	let hostPaths = paths.unified === undefined ? hierarchiesOf(paths) : new Set([paths.unified]);
	for (;;) {
		const hostPids = await listProcesses(paths);
		if (hostPids.length === 0) return;
		if (Date.now() > deadline) {
			throw new ShaleError("timeout", `Killing ${paths.name}: processes ${hostPids.join(", ")} do not end`, {
				hint: "They are stuck in the kernel, most likely on a disk or network filesystem.",
			});
		}
		await run([...hostPaths].map(op.cgroupKill));
		hostPaths = hierarchiesOf(paths);
		if (paths.v1.freezer !== undefined) await thaw(run, paths.v1.freezer);
		await sleep(PAUSE_MS);
	}
}

/** A v1 freezer holds even killed processes. */
async function thaw(run: RunOps, freezerHostPath: string): Promise<void> {
	try {
		await run([op.cgroupWrite(join(freezerHostPath, "freezer.state"), "THAWED")]);
	} catch (error) {
		if (!(error instanceof PlanError && GONE.has(error.errnoName))) throw error;
	}
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
