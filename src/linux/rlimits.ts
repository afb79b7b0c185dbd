/** Resource limits of processes, getrlimit(2): names as in prlimit(1), and what this host lets us set. */
import { readFileSync } from "node:fs";
import { ShaleError } from "../lib/errors.ts";
import { fromMask } from "./capabilities.ts";
import type { RlimitName, RlimitValue } from "./plan.ts";

/** RLIMIT_* of x86_64, and the line of /proc/PID/limits. */
const RLIMITS: Readonly<Record<RlimitName, readonly [number: number, title: string]>> = {
	cpu: [0, "Max cpu time"],
	fsize: [1, "Max file size"],
	data: [2, "Max data size"],
	stack: [3, "Max stack size"],
	core: [4, "Max core file size"],
	rss: [5, "Max resident set"],
	nproc: [6, "Max processes"],
	nofile: [7, "Max open files"],
	memlock: [8, "Max locked memory"],
	as: [9, "Max address space"],
	locks: [10, "Max file locks"],
	sigpending: [11, "Max pending signals"],
	msgqueue: [12, "Max msgqueue size"],
	nice: [13, "Max nice priority"],
	rtprio: [14, "Max realtime priority"],
	rttime: [15, "Max realtime timeout"],
};

export interface Rlimit {
	readonly resource: RlimitName;
	readonly soft: RlimitValue;
	readonly hard: RlimitValue;
}

/** What limits setting limits: the hard limits of the process that sets them, and whether it may raise them. */
export interface RlimitAuthority {
	readonly hard: Readonly<Partial<Record<RlimitName, RlimitValue>>>;
	readonly canRaise: boolean;
}

/** `nofile`, `NOFILE` and `RLIMIT_NOFILE` are one; undefined when there is no such limit. */
export function findRlimit(name: string): RlimitName | undefined {
	const short = name.toLowerCase().replace(/^rlimit_/, "");
	return Object.hasOwn(RLIMITS, short) ? (short as RlimitName) : undefined;
}

/** The number for prlimit(2). */
export function rlimitNumber(resource: RlimitName): number {
	return RLIMITS[resource][0];
}

/** From the text of /proc/PID/limits and /proc/PID/status. */
export function parseRlimitAuthority(limits: string, status: string): RlimitAuthority {
	const hard: Partial<Record<RlimitName, RlimitValue>> = {};
	for (const [name, [, title]] of Object.entries(RLIMITS)) {
		const value = new RegExp(`^${title} +\\S+ +(\\S+)`, "m").exec(limits)?.[1];
		if (value !== undefined) hard[name as RlimitName] = value === "unlimited" ? value : Number(value);
	}
	const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0";
	return { hard, canRaise: fromMask(BigInt(`0x${effective}`)).includes("CAP_SYS_RESOURCE") };
}

/** The authority of this process, which the jailer that it starts has as well. */
export function readRlimitAuthority(): RlimitAuthority {
	return parseRlimitAuthority(
		readFileSync("/proc/self/limits", "utf8"),
		readFileSync("/proc/self/status", "utf8"),
	);
}

/**
 * Throws `invalid_argument` for impossible values and `unsupported` for a hard limit over this process's own when
 * it may not raise it.
 */
export function checkRlimit({ resource, soft, hard }: Rlimit, authority: RlimitAuthority): void {
	for (const value of [soft, hard]) {
		if (value !== "unlimited" && !(Number.isSafeInteger(value) && value >= 0)) {
			throw new ShaleError(
				"invalid_argument",
				`Limit ${resource} is ${value}: a whole number or "unlimited"`,
			);
		}
	}
	if (isAbove(soft, hard)) {
		throw new ShaleError("invalid_argument", `Limit ${resource}: soft ${soft} is above hard ${hard}`);
	}
	const highest = authority.hard[resource] ?? "unlimited";
	if (authority.canRaise || !isAbove(hard, highest)) return;
	throw new ShaleError(
		"unsupported",
		`Limit ${resource} cannot be ${hard}: this host allows ${highest} at most`,
		{
			hint: "Give Shale CAP_SYS_RESOURCE, or raise the limit of its service (LimitNOFILE=… and the like).",
			details: { resource, highest },
		},
	);
}

function isAbove(value: RlimitValue, other: RlimitValue): boolean {
	if (other === "unlimited") return false;
	return value === "unlimited" || value > other;
}
