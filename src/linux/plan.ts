/**
 * The plan: what the jailer is to do, as data. Policy builds it here from typed constructors; `native/plan.h` has
 * the same operations and a test compares the two. Meaning and safety of each: `native/README.md`.
 *
 * Order is literal: host operations, `guest`, guest operations, `exec` last. A plan without `clone` has host
 * operations only.
 */
import { ShaleError } from "../lib/errors.ts";

export type OpPhase = "host" | "guest";

export type OpSpec = {
	readonly opcode: number;
	readonly phase: OpPhase;
	readonly minWords: number;
	readonly maxWords: number;
	readonly binary?: true;
};

/** Limits of the encoding, as in native/plan.h. */
export const PLAN_LIMITS = { bytes: 1024 * 1024, ops: 4096, words: 1024, wordBytes: 128 * 1024 } as const;

export const OPS = {
	cgroup_create: { opcode: 1, phase: "host", minWords: 1, maxWords: 1 },
	cgroup_ensure: { opcode: 2, phase: "host", minWords: 1, maxWords: 1 },
	cgroup_write: { opcode: 3, phase: "host", minWords: 2, maxWords: 2 },
	cgroup_join: { opcode: 4, phase: "host", minWords: 1, maxWords: 1 },
	cgroup_kill: { opcode: 5, phase: "host", minWords: 1, maxWords: 1 },
	cgroup_remove: { opcode: 6, phase: "host", minWords: 1, maxWords: 1 },
	dir_create: { opcode: 7, phase: "host", minWords: 2, maxWords: 2 },
	dir_remove: { opcode: 8, phase: "host", minWords: 1, maxWords: 1 },
	file_remove: { opcode: 9, phase: "host", minWords: 1, maxWords: 1 },
	listen: { opcode: 10, phase: "host", minWords: 2, maxWords: 2 },
	layer_mount: { opcode: 11, phase: "host", minWords: 2, maxWords: 2 },
	layer_unmount: { opcode: 12, phase: "host", minWords: 1, maxWords: 1 },
	clone: { opcode: 13, phase: "host", minWords: 0, maxWords: 9 },
	map_ids: { opcode: 14, phase: "host", minWords: 2, maxWords: 2 },
	root_begin: { opcode: 15, phase: "host", minWords: 0, maxWords: 0 },
	root_layer: { opcode: 16, phase: "host", minWords: 1, maxWords: 1 },
	root_upper_tmpfs: { opcode: 17, phase: "host", minWords: 2, maxWords: 2 },
	root_upper_disk: { opcode: 18, phase: "host", minWords: 1, maxWords: 1 },
	root_end: { opcode: 19, phase: "host", minWords: 1, maxWords: 1 },
	guest: { opcode: 32, phase: "guest", minWords: 0, maxWords: 0 },
	enter_root: { opcode: 33, phase: "guest", minWords: 0, maxWords: 0 },
	mount: { opcode: 34, phase: "guest", minWords: 3, maxWords: 4 },
	mount_dev: { opcode: 35, phase: "guest", minWords: 0, maxWords: 0 },
	mask: { opcode: 36, phase: "guest", minWords: 1, maxWords: 1 },
	readonly: { opcode: 37, phase: "guest", minWords: 1, maxWords: 1 },
	dir: { opcode: 38, phase: "guest", minWords: 2, maxWords: 2 },
	hostname: { opcode: 39, phase: "guest", minWords: 1, maxWords: 1 },
	netlink: { opcode: 40, phase: "guest", minWords: 1, maxWords: 1, binary: true },
	rlimit: { opcode: 41, phase: "guest", minWords: 3, maxWords: 3 },
	wait_fifo: { opcode: 42, phase: "guest", minWords: 1, maxWords: 1 },
	capabilities: { opcode: 43, phase: "guest", minWords: 5, maxWords: 5 },
	no_new_privs: { opcode: 44, phase: "guest", minWords: 0, maxWords: 0 },
	seccomp: { opcode: 45, phase: "guest", minWords: 1, maxWords: 1, binary: true },
	exec: { opcode: 46, phase: "guest", minWords: 4, maxWords: 1024 },
} as const satisfies Record<string, OpSpec>;

export type OpName = keyof typeof OPS;
export type Word = string | number | Uint8Array;
export type Op = readonly [name: OpName, ...words: Word[]];
export type Plan = readonly Op[];

export type CloneNamespace = "user" | "mount" | "pid" | "net" | "ipc" | "uts" | "cgroup" | "time";
export type MountFlag = "nosuid" | "nodev" | "noexec" | "ro" | "noatime" | "nosymfollow";
export type GuestFilesystem = "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue";
export type RlimitName =
	| "as"
	| "core"
	| "cpu"
	| "data"
	| "fsize"
	| "locks"
	| "memlock"
	| "msgqueue"
	| "nice"
	| "nofile"
	| "nproc"
	| "rss"
	| "rtprio"
	| "rttime"
	| "sigpending"
	| "stack";
export type RlimitValue = number | "unlimited";

/** Bit masks as in linux/capability.h: bit N is capability N. */
export type CapabilityMasks = {
	readonly bounding: bigint;
	readonly effective: bigint;
	readonly permitted: bigint;
	readonly inheritable: bigint;
	readonly ambient: bigint;
};

export type ExecSpec = {
	/** Absolute path inside the root, or `@agent` for the jailer's sealed copy of the agent. */
	readonly path: string;
	/** Slots that become descriptors 3, 4, … of the program, in this order. */
	readonly keep?: readonly number[];
	readonly argv: readonly [string, ...string[]];
	/** `NAME=value` each. */
	readonly env?: readonly string[];
};

/** Constructors, one per operation, in the order of {@link OPS}. Paths are absolute; sizes in bytes. */
export const op = {
	cgroupCreate: (hostPath: string): Op => ["cgroup_create", hostPath],
	cgroupEnsure: (hostPath: string): Op => ["cgroup_ensure", hostPath],
	cgroupWrite: (hostPath: string, value: string | number): Op => ["cgroup_write", hostPath, value],
	cgroupJoin: (hostPath: string): Op => ["cgroup_join", hostPath],
	cgroupKill: (hostPath: string): Op => ["cgroup_kill", hostPath],
	cgroupRemove: (hostPath: string): Op => ["cgroup_remove", hostPath],
	/** `mode` is a number like 0o700. */
	dirCreate: (hostPath: string, mode: number): Op => ["dir_create", hostPath, mode.toString(8)],
	dirRemove: (hostPath: string): Op => ["dir_remove", hostPath],
	fileRemove: (hostPath: string): Op => ["file_remove", hostPath],
	/** The listening socket is kept under the number `slot` (0 to 15) for `exec`. Comes before `clone`. */
	listen: (slot: number, hostPath: string): Op => ["listen", slot, hostPath],
	layerMount: (id: string, hostImagePath: string): Op => ["layer_mount", id, hostImagePath],
	layerUnmount: (id: string): Op => ["layer_unmount", id],
	/** `cgroup2` is the unified cgroup that the child starts in. */
	clone: (namespaces: readonly CloneNamespace[], options: { cgroup2?: string } = {}): Op => [
		"clone",
		...namespaces,
		...(options.cgroup2 === undefined ? [] : [`cgroup2=${options.cgroup2}`]),
	],
	mapIds: (hostBase: number, count: number): Op => ["map_ids", hostBase, count],
	rootBegin: (): Op => ["root_begin"],
	rootLayer: (id: string): Op => ["root_layer", id],
	rootUpperTmpfs: (bytes: number, inodes: number): Op => ["root_upper_tmpfs", bytes, inodes],
	rootUpperDisk: (hostImagePath: string): Op => ["root_upper_disk", hostImagePath],
	rootEnd: (flags: readonly MountFlag[] = []): Op => ["root_end", flags.join(",")],
	guest: (): Op => ["guest"],
	enterRoot: (): Op => ["enter_root"],
	/** `options` are the filesystem's own, comma separated: `size=1048576,mode=1777`. */
	mount: (
		filesystem: GuestFilesystem,
		guestPath: string,
		flags: readonly MountFlag[] = [],
		options = "",
	): Op => ["mount", filesystem, guestPath, flags.join(","), ...(options === "" ? [] : [options])],
	mountDev: (): Op => ["mount_dev"],
	mask: (guestPath: string): Op => ["mask", guestPath],
	readonly: (guestPath: string): Op => ["readonly", guestPath],
	dir: (guestPath: string, mode: number): Op => ["dir", guestPath, mode.toString(8)],
	hostname: (name: string): Op => ["hostname", name],
	netlink: (message: Uint8Array): Op => ["netlink", message],
	rlimit: (resource: RlimitName, soft: RlimitValue, hard: RlimitValue): Op => [
		"rlimit",
		resource,
		soft,
		hard,
	],
	/** Blocks the child until a byte can be read from the fifo; the jailer answers the plan before it blocks. */
	waitFifo: (hostPath: string): Op => ["wait_fifo", hostPath],
	capabilities: (masks: CapabilityMasks): Op => [
		"capabilities",
		masks.bounding.toString(16),
		masks.effective.toString(16),
		masks.permitted.toString(16),
		masks.inheritable.toString(16),
		masks.ambient.toString(16),
	],
	noNewPrivs: (): Op => ["no_new_privs"],
	/** Raw `struct sock_filter[]`. Loaded by `exec`, as its last act before the program starts. */
	seccomp: (filter: Uint8Array): Op => ["seccomp", filter],
	exec: ({ path, keep = [], argv, env = [] }: ExecSpec): Op => [
		"exec",
		path,
		keep.join(","),
		env.length,
		...env,
		...argv,
	],
} as const;

function refuse(opName: string, index: number, why: string): never {
	throw new ShaleError("invalid_argument", `Cannot encode the plan: operation ${index} (${opName}): ${why}`);
}

function encodeWord(word: Word, binary: boolean): Uint8Array | string {
	if (typeof word !== "string" && typeof word !== "number") return binary ? word : "a text word is binary";
	if (typeof word === "number" && !(Number.isSafeInteger(word) && word >= 0)) {
		return `${word} is not a non-negative integer`;
	}
	const bytes = Buffer.from(String(word), "utf8");
	return bytes.includes(0) ? "a text word contains a NUL" : bytes;
}

function encodeOp(op: Op, index: number): Uint8Array[] {
	const [name, ...words] = op;
	const spec: OpSpec = OPS[name];
	if (words.length < spec.minWords || words.length > spec.maxWords) {
		refuse(name, index, `${words.length} words, expected ${spec.minWords} to ${spec.maxWords}`);
	}
	const parts: Uint8Array[] = [u32(spec.opcode), u32(words.length)];
	for (const word of words) {
		const bytes = encodeWord(word, spec.binary === true);
		if (typeof bytes === "string") refuse(name, index, bytes);
		if (bytes.length > PLAN_LIMITS.wordBytes) refuse(name, index, `a word has ${bytes.length} bytes`);
		parts.push(u32(bytes.length), bytes, NUL);
	}
	return parts;
}

const NUL = new Uint8Array(1);

function u32(value: number): Buffer {
	const bytes = Buffer.alloc(4);
	bytes.writeUInt32LE(value);
	return bytes;
}

/**
 * The plan's bytes for the jailer. Throws `invalid_argument` for what can never be encoded (word counts, NUL in
 * text, negative numbers, the limits); the order of operations and the meaning of words are checked by the jailer.
 */
export function encodePlan(plan: Plan): Buffer {
	if (plan.length > PLAN_LIMITS.ops) refuse("plan", PLAN_LIMITS.ops, "too many operations");
	const bytes = Buffer.concat([
		Buffer.from("SHALEPL1", "latin1"),
		u32(plan.length),
		...plan.flatMap((op, index) => encodeOp(op, index)),
	]);
	if (bytes.length > PLAN_LIMITS.bytes) refuse("plan", plan.length, `${bytes.length} bytes in all`);
	return bytes;
}

function explainWord(word: Word): string {
	if (typeof word === "number") return String(word);
	if (typeof word !== "string") return `<${word.length} bytes>`;
	return /^[^\s"'#\p{C}]+$/u.test(word) ? word : JSON.stringify(word);
}

/** One operation per line, with a heading comment where the phase changes. For people; not parsed back. */
export function explainPlan(plan: Plan): string {
	const lines: string[] = [];
	let heading = "";
	for (const [name, ...words] of plan) {
		const phase = name === "exec" ? "# exec" : `# ${OPS[name].phase}`;
		if (phase !== heading) {
			lines.push(...(heading === "" ? [] : [""]), phase);
			heading = phase;
		}
		lines.push([name, ...words.map(explainWord)].join(" "));
	}
	return lines.map((line) => `${line}\n`).join("");
}
