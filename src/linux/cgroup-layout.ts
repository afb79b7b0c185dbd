/**
 * Which cgroup hierarchies this host has and where Shale's part of them is: one directory, `shale`, beside the
 * others at the top of each. At the top and not below the daemon's own cgroup, because a service manager kills all
 * that is below a service when it stops, and sandboxes outlive the daemon.
 *
 * Three layouts exist, cgroups(7): v1 (a hierarchy per controller), v2 (one for all), and hybrid, where v1 has the
 * controllers and the unified hierarchy still kills, freezes and counts CPU time.
 */
import { constants } from "node:fs";
import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoCode } from "../lib/errors.ts";

/** The controllers that Shale can use; v2 knows freezer and cpuacct as parts of every cgroup. */
export const CONTROLLERS = ["cpu", "memory", "pids", "devices", "freezer"] as const;
export type Controller = (typeof CONTROLLERS)[number];

export interface UnifiedHierarchy {
	/** The highest cgroup that this process may change: the mount point, or what was delegated to it. */
	readonly baseHostPath: string;
	/** Parent of the sandboxes' cgroups. */
	readonly parentHostPath: string;
	/** Before {@link prepareCgroups} what the base could offer, after it what a sandbox's cgroup will have. */
	readonly controllers: readonly string[];
}

export interface CgroupLayout {
	readonly mode: "none" | "v1" | "hybrid" | "v2";
	/** Parent of the sandboxes' cgroups in the v1 hierarchy of a controller; co-mounted ones share it. */
	readonly v1: Readonly<Partial<Record<Controller, string>>>;
	readonly unified: UnifiedHierarchy | undefined;
	readonly swap: SwapControl;
	/** v1 counts the buffers of IP sockets apart from memory, and only where it can is a limit written. */
	readonly limitsSocketBuffers: boolean;
}

/** `limited`: per cgroup. `absent`: the host has none. `uncounted`: it has, but the kernel has `swapaccount=0`. */
export type SwapControl = "limited" | "absent" | "uncounted";

/** Deprecated since Linux 6.12, and the only one on v1; v2 counts these buffers as memory. */
export const SOCKET_BUFFERS_FILE = "memory.kmem.tcp.limit_in_bytes";

export interface DetectCgroupsOptions {
	/** Where sandboxes' cgroups are made, relative to each hierarchy's top. */
	readonly parent?: string;
	/** For tests: where `self/mountinfo`, `self/cgroup` and `swaps` are. */
	readonly procPath?: string;
}

interface CgroupMount {
	readonly type: "cgroup" | "cgroup2";
	readonly rootPath: string;
	readonly hostPath: string;
	readonly controllers: readonly string[];
}

/** Changes nothing. A hierarchy that this process may not write to is left out. */
export async function detectCgroups({
	parent = "shale",
	procPath = "/proc",
}: DetectCgroupsOptions = {}): Promise<CgroupLayout> {
	const mounts = parseMounts(await readFile(join(procPath, "self/mountinfo"), "utf8"));
	const v1: Partial<Record<Controller, string>> = {};
	for (const controller of CONTROLLERS) {
		const mount = mounts.find(({ controllers }) => controllers.includes(controller));
		if (mount && (await isWritable(mount.hostPath))) v1[controller] = join(mount.hostPath, parent);
	}
	const baseHostPath = await findUnifiedBase(mounts, procPath);
	const unified = baseHostPath === undefined ? undefined : await readUnified(baseHostPath, parent);
	return {
		mode: modeOf(v1, unified),
		v1,
		unified,
		swap: await detectSwap({ v1, unified }, procPath),
		limitsSocketBuffers:
			v1.memory !== undefined && (await exists(join(dirname(v1.memory), SOCKET_BUFFERS_FILE))),
	};
}

/**
 * Makes the parent cgroups and, on v2, hands the controllers down to them; to be called once before sandboxes are
 * made, may be repeated. Returns the layout with the controllers that sandboxes will really have: one that could
 * not be enabled is missing there, so that a limit which needs it is refused.
 */
export async function prepareCgroups(
	layout: CgroupLayout,
	wanted: readonly string[] = ["cpu", "memory", "pids"],
): Promise<CgroupLayout> {
	for (const hostPath of new Set(Object.values(layout.v1))) await mkdir(hostPath, { recursive: true });
	const { unified } = layout;
	if (unified === undefined) return layout;
	await mkdir(unified.parentHostPath, { recursive: true });
	for (const hostPath of pathBetween(unified.baseHostPath, unified.parentHostPath)) {
		await enableControllers(hostPath, wanted);
	}
	const controllers = await readWords(join(unified.parentHostPath, "cgroup.subtree_control"));
	return { ...layout, unified: { ...unified, controllers } };
}

/** Mounts of the cgroup filesystems below /sys/fs/cgroup or wherever they are, proc_pid_mountinfo(5). */
function parseMounts(mountinfo: string): CgroupMount[] {
	const mounts: CgroupMount[] = [];
	for (const line of mountinfo.split("\n")) {
		const [before = "", after = ""] = line.split(" - ");
		const [, , , rootPath = "", mountPoint = ""] = before.split(" ");
		const [type, , superOptions = ""] = after.split(" ");
		if (type !== "cgroup" && type !== "cgroup2") continue;
		const controllers = type === "cgroup" ? superOptions.split(",") : [];
		mounts.push({ type, rootPath, hostPath: unescapeOctal(mountPoint), controllers });
	}
	return mounts;
}

function unescapeOctal(text: string): string {
	return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
		String.fromCharCode(Number.parseInt(digits, 8)),
	);
}

async function findUnifiedBase(
	mounts: readonly CgroupMount[],
	procPath: string,
): Promise<string | undefined> {
	const mount = mounts.find(({ type }) => type === "cgroup2");
	if (mount === undefined) return undefined;
	if (await isWritable(mount.hostPath)) return mount.hostPath;
	const own = /^0::(.*)$/m.exec(await readFile(join(procPath, "self/cgroup"), "utf8"))?.[1] ?? "/";
	const delegated = join(
		mount.hostPath,
		own.startsWith(mount.rootPath) ? own.slice(mount.rootPath.length) : own,
	);
	return (await isWritable(delegated)) ? delegated : undefined;
}

async function readUnified(baseHostPath: string, parent: string): Promise<UnifiedHierarchy> {
	const controllers = await readWords(join(baseHostPath, "cgroup.controllers"));
	return { baseHostPath, parentHostPath: join(baseHostPath, parent), controllers };
}

function modeOf(v1: CgroupLayout["v1"], unified: UnifiedHierarchy | undefined): CgroupLayout["mode"] {
	const hasV1 = Object.keys(v1).length > 0;
	if (unified === undefined) return hasV1 ? "v1" : "none";
	return hasV1 ? "hybrid" : "v2";
}

async function detectSwap(
	{ v1, unified }: Pick<CgroupLayout, "v1" | "unified">,
	procPath: string,
): Promise<SwapControl> {
	if (await hasSwapFile(v1, unified)) return "limited";
	const devices = (await readFile(join(procPath, "swaps"), "utf8")).trim().split("\n").slice(1);
	return devices.length === 0 ? "absent" : "uncounted";
}

async function hasSwapFile(v1: CgroupLayout["v1"], unified: UnifiedHierarchy | undefined): Promise<boolean> {
	if (v1.memory !== undefined) return exists(join(dirname(v1.memory), "memory.memsw.limit_in_bytes"));
	// The top cgroup has no such file. Without another to look at, writing it will tell.
	if (unified === undefined || !(await exists(join(unified.parentHostPath, "memory.max")))) return true;
	return exists(join(unified.parentHostPath, "memory.swap.max"));
}

async function enableControllers(hostPath: string, wanted: readonly string[]): Promise<void> {
	const available = await readWords(join(hostPath, "cgroup.controllers"));
	const controlPath = join(hostPath, "cgroup.subtree_control");
	const enabled = await readWords(controlPath);
	for (const controller of wanted) {
		if (!available.includes(controller) || enabled.includes(controller)) continue;
		// One write each: a controller that refuses (cpu with realtime tasks about) must not take the others along.
		const refusal = await tryWrite(controlPath, `+${controller}`);
		if (refusal !== "EBUSY") continue;
		await moveProcessesToLeaf(hostPath);
		await tryWrite(controlPath, `+${controller}`);
	}
}

/** Where processes go that are in the way; never a sandbox's cgroup. */
export const HOST_LEAF = "shale-host";

/** How often to look again for processes that were forked while their parents were moved. */
const MOVE_ROUNDS = 10;

/**
 * A cgroup that hands controllers down may have no processes itself ("no internal processes", cgroups(7)), except
 * the real root. In a container or a delegated service it has some: this daemon and what it was started from.
 */
async function moveProcessesToLeaf(hostPath: string): Promise<void> {
	const leafHostPath = join(hostPath, HOST_LEAF);
	await mkdir(leafHostPath, { recursive: true });
	for (let round = 0; round < MOVE_ROUNDS; round++) {
		const hostPids = await readWords(join(hostPath, "cgroup.procs"));
		if (hostPids.length === 0) return;
		for (const hostPid of hostPids) await tryWrite(join(leafHostPath, "cgroup.procs"), hostPid);
	}
}

/** The errno's name when the kernel refused. */
async function tryWrite(hostPath: string, value: string): Promise<string | undefined> {
	try {
		await writeFile(hostPath, value);
		return undefined;
	} catch (error) {
		const code = errnoCode(error);
		if (code === undefined) throw error;
		return code;
	}
}

/** `/a`, `/a/b`, `/a/b/c` for `/a` and `/a/b/c`. */
function pathBetween(fromHostPath: string, toHostPath: string): string[] {
	if (toHostPath === fromHostPath || dirname(toHostPath) === toHostPath) return [fromHostPath];
	return [...pathBetween(fromHostPath, dirname(toHostPath)), toHostPath];
}

async function readWords(hostPath: string): Promise<string[]> {
	return (await readFile(hostPath, "utf8")).split(/\s+/).filter((word) => word !== "");
}

async function isWritable(hostPath: string): Promise<boolean> {
	return access(hostPath, constants.W_OK).then(
		() => true,
		() => false,
	);
}

export async function exists(hostPath: string): Promise<boolean> {
	return access(hostPath).then(
		() => true,
		() => false,
	);
}
