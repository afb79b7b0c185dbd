/**
 * What a sandbox's limits mean as cgroups: which directories, which files, which values. Pure; the jailer acts.
 *
 * Each cgroup costs a sandbox about 0.15 ms at its start and end (mkdir, write, join, rmdir), so there are only the
 * ones that the limits need, and the unified one, which costs no join: the child is cloned into it.
 */
import { join } from "node:path";
import { ShaleError } from "../lib/errors.ts";
import { type CgroupLayout, type Controller, SOCKET_BUFFERS_FILE } from "./cgroup-layout.ts";
import { type Op, op } from "./plan.ts";

/** What is not given is not limited. */
export interface SandboxLimits {
	/** Thousandths of one CPU, 10 or more. */
	readonly cpuMillis?: number;
	readonly memoryBytes?: number;
	/** Swap beyond memory. Needs memoryBytes; when only that is given, 0 wherever the kernel counts swap. */
	readonly swapBytes?: number;
	/** Processes and threads together. */
	readonly processes?: number;
	/** v1 only, for sandboxes without a user namespace, whose root could otherwise make and open device nodes. */
	readonly onlyStandardDevices?: boolean;
}

/** Where a sandbox's cgroups are; plain data that can be stored. */
export interface CgroupPaths {
	readonly name: string;
	readonly unified: string | undefined;
	/** By controller; co-mounted controllers have the same path. */
	readonly v1: Readonly<Partial<Record<Controller, string>>>;
}

export interface CgroupPlan {
	/** Before `clone`: makes the cgroups and writes the limits. */
	readonly before: readonly Op[];
	/** The unified cgroup to clone the child into. */
	readonly unified: string | undefined;
	/** After `clone`. */
	readonly join: readonly Op[];
	readonly paths: CgroupPaths;
}

type Setting = readonly [file: string, value: string];

interface LimitRule {
	readonly controller: Controller;
	/** The fields that ask for it, for messages. */
	readonly fields: readonly (keyof SandboxLimits)[];
	readonly v1: (limits: SandboxLimits, layout: CgroupLayout) => readonly Setting[];
	/** Undefined where v2 has no such control file. */
	readonly v2?: (limits: SandboxLimits, layout: CgroupLayout) => readonly Setting[];
	readonly fix: string;
}

/** The kernel's default period: a new v1 cgroup has it already. */
const CPU_PERIOD_US = 100_000;
/** The kernel refuses quotas under 1 ms. */
const MIN_CPU_MILLIS = 10;

const cpuQuotaUs = ({ cpuMillis = 0 }: SandboxLimits): number =>
	Math.round((cpuMillis * CPU_PERIOD_US) / 1000);

/** null zero full random urandom tty, then terminals: console, ptmx, pts. Reading, writing and making of nodes. */
const STANDARD_DEVICES = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:1", "5:2", "136:*"];

/** SECURITY: beside its memory, a sandbox on v1 may have this part of it in TCP and UDP buffers; without, the host's all. */
const SOCKET_BUFFERS_PART = 4;

const RULES: readonly LimitRule[] = [
	{
		controller: "cpu",
		fields: ["cpuMillis"],
		v1: (limits) => [["cpu.cfs_quota_us", String(cpuQuotaUs(limits))]],
		v2: (limits) => [["cpu.max", `${cpuQuotaUs(limits)} ${CPU_PERIOD_US}`]],
		fix: "Use a kernel with CONFIG_CFS_BANDWIDTH.",
	},
	{
		controller: "memory",
		fields: ["memoryBytes", "swapBytes"],
		// The sum of both may never be below memory alone, so memory is written first.
		v1: ({ memoryBytes = 0, swapBytes = 0 }, { swap, limitsSocketBuffers }) => [
			["memory.limit_in_bytes", String(memoryBytes)],
			...(limitsSocketBuffers
				? ([[SOCKET_BUFFERS_FILE, String(Math.ceil(memoryBytes / SOCKET_BUFFERS_PART))]] as const)
				: []),
			...(swap === "limited"
				? ([["memory.memsw.limit_in_bytes", String(memoryBytes + swapBytes)]] as const)
				: []),
		],
		// memory.oom.group stays 0: the kernel then kills one process and the agent can tell of it. Processes have a
		// higher oom_score_adj than the agent.
		v2: ({ memoryBytes = 0, swapBytes = 0 }, { swap }) => [
			["memory.max", String(memoryBytes)],
			...(swap === "limited" ? ([["memory.swap.max", String(swapBytes)]] as const) : []),
		],
		fix: "Boot with cgroup_enable=memory.",
	},
	{
		controller: "pids",
		fields: ["processes"],
		v1: ({ processes = 0 }) => [["pids.max", String(processes)]],
		v2: ({ processes = 0 }) => [["pids.max", String(processes)]],
		fix: "Use a kernel with CONFIG_CGROUP_PIDS.",
	},
	{
		controller: "devices",
		fields: ["onlyStandardDevices"],
		v1: () => [
			["devices.deny", "a"],
			...STANDARD_DEVICES.map((numbers): Setting => ["devices.allow", `c ${numbers} rwm`]),
		],
		fix: "Run sandboxes with a user namespace, where device nodes cannot be made.",
	},
];

/**
 * The cgroups of a new sandbox. `name` is its id, or a relative path for other parents.
 * Throws `unsupported` when a limit has no controller to apply it, `invalid_argument` for an impossible value.
 */
export function planCreate(layout: CgroupLayout, name: string, limits: SandboxLimits): CgroupPlan {
	checkValues(limits, layout);
	const unified = layout.unified && join(layout.unified.parentHostPath, name);
	const v1: Partial<Record<Controller, string>> = {};
	const writes: Op[] = [];
	for (const rule of RULES.filter(({ fields }) => fields.some((field) => isAsked(limits[field])))) {
		const { hostPath, settings } = placeRule(rule, { layout, limits, name, unified });
		if (hostPath !== unified) v1[rule.controller] = hostPath;
		writes.push(...settings.map(([file, value]) => op.cgroupWrite(join(hostPath, file), value)));
	}
	// Without a unified hierarchy only the freezer can pause a sandbox, and list the processes of any.
	if (unified === undefined && layout.v1.freezer !== undefined) v1.freezer = join(layout.v1.freezer, name);

	const v1Paths = [...new Set(Object.values(v1))];
	const parents = [
		layout.unified?.parentHostPath,
		...Object.keys(v1).map((key) => layout.v1[key as Controller]),
	];
	return {
		before: [
			...[...new Set(parents)].filter((path) => path !== undefined).map(op.cgroupEnsure),
			...(unified === undefined ? [] : [op.cgroupCreate(unified)]),
			...v1Paths.map(op.cgroupCreate),
			...writes,
		],
		unified,
		join: v1Paths.map(op.cgroupJoin),
		paths: { name, unified, v1 },
	};
}

/** Takes the cgroups of a dead sandbox away; fine when they are gone already. */
export function planRemove(paths: CgroupPaths): readonly Op[] {
	return [...hierarchiesOf(paths)].map(op.cgroupRemove);
}

/** Each of the sandbox's cgroups once, the unified one first. */
export function hierarchiesOf({ unified, v1 }: CgroupPaths): ReadonlySet<string> {
	return new Set([...(unified === undefined ? [] : [unified]), ...Object.values(v1)]);
}

/** Takes the parents of sandboxes' cgroups away, which must have none left. */
export function planRemoveParents(layout: CgroupLayout): readonly Op[] {
	return [...parentsOf(layout)].map(op.cgroupRemove);
}

/** The parents of sandboxes' cgroups, in each hierarchy that Shale uses. */
export function parentsOf({ unified, v1 }: CgroupLayout): ReadonlySet<string> {
	return new Set([...(unified === undefined ? [] : [unified.parentHostPath]), ...Object.values(v1)]);
}

function isAsked(value: SandboxLimits[keyof SandboxLimits]): boolean {
	return value !== undefined && value !== false;
}

interface Placing {
	readonly layout: CgroupLayout;
	readonly limits: SandboxLimits;
	readonly name: string;
	readonly unified: string | undefined;
}

function placeRule(rule: LimitRule, { layout, limits, name, unified }: Placing) {
	const { controller, fields, fix } = rule;
	const v1Parent = layout.v1[controller];
	if (v1Parent !== undefined) return { hostPath: join(v1Parent, name), settings: rule.v1(limits, layout) };
	if (unified !== undefined && rule.v2 && layout.unified?.controllers.includes(controller)) {
		return { hostPath: unified, settings: rule.v2(limits, layout) };
	}
	const asked = fields.filter((field) => isAsked(limits[field])).join(" and ");
	const hint =
		layout.mode === "none"
			? "Run Shale as root with a writable /sys/fs/cgroup, or as a service with Delegate=yes."
			: `${fix} On cgroup v2, the controller must be in cgroup.controllers of Shale's parent cgroup.`;
	throw new ShaleError(
		"unsupported",
		`${asked} cannot be applied: no ${controller} controller can be used here`,
		{
			hint,
			details: { limit: asked, controller, cgroups: layout.mode },
		},
	);
}

function checkValues(limits: SandboxLimits, { swap }: CgroupLayout): void {
	for (const [field, least] of LEAST) {
		const value = limits[field];
		if (value === undefined || (Number.isSafeInteger(value) && value >= least)) continue;
		throw new ShaleError(
			"invalid_argument",
			`${field} is ${value}: a whole number of at least ${least} is needed`,
		);
	}
	if (limits.swapBytes === undefined) return;
	if (limits.memoryBytes === undefined) {
		throw new ShaleError(
			"invalid_argument",
			`swapBytes is ${limits.swapBytes}: it needs memoryBytes as well`,
		);
	}
	if (swap === "uncounted") {
		throw new ShaleError("unsupported", "swapBytes cannot be applied: the kernel counts no swap here", {
			hint: "Boot with swapaccount=1, or switch swap off.",
		});
	}
}

const LEAST = [
	["cpuMillis", MIN_CPU_MILLIS],
	["memoryBytes", 1],
	["swapBytes", 0],
	["processes", 1],
] as const;
