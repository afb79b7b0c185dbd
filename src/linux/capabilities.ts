/**
 * Capabilities by name and bit, capabilities(7), up to CAP_CHECKPOINT_RESTORE (Linux 5.9), and the masks for the
 * plan's `capabilities` operation.
 */
import { ShaleError } from "../lib/errors.ts";
import type { CapabilityMasks } from "./plan.ts";

/** In the order of linux/capability.h: the index is the bit. */
export const CAPABILITY_NAMES = [
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST",
	"CAP_NET_ADMIN",
	"CAP_NET_RAW",
	"CAP_IPC_LOCK",
	"CAP_IPC_OWNER",
	"CAP_SYS_MODULE",
	"CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE",
	"CAP_SYS_PACCT",
	"CAP_SYS_ADMIN",
	"CAP_SYS_BOOT",
	"CAP_SYS_NICE",
	"CAP_SYS_RESOURCE",
	"CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD",
	"CAP_LEASE",
	"CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL",
	"CAP_SETFCAP",
	"CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN",
	"CAP_SYSLOG",
	"CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ",
	"CAP_PERFMON",
	"CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
] as const;

export type CapabilityName = (typeof CAPABILITY_NAMES)[number];

/** What a sandbox's root may do: the set that Podman gives, enough for package managers and for changing user. */
export const DEFAULT_CAPABILITIES: readonly CapabilityName[] = [
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_NET_BIND_SERVICE",
	"CAP_SETFCAP",
	"CAP_SETGID",
	"CAP_SETPCAP",
	"CAP_SETUID",
	"CAP_SYS_CHROOT",
];

/** The name in its full form (`chown`, `cap_chown` and `CAP_CHOWN` are one), or undefined when there is none. */
export function findCapability(name: string): CapabilityName | undefined {
	const upper = name.toUpperCase();
	const full = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
	return CAPABILITY_NAMES.find((known) => known === full);
}

/** The set as a mask: bit N is capability N. Throws `invalid_argument` for a name that does not exist. */
export function toMask(names: readonly string[]): bigint {
	return names.reduce((mask, name) => {
		const known = findCapability(name);
		if (known === undefined) throw new ShaleError("invalid_argument", `Unknown capability: ${name}`);
		return mask | (1n << BigInt(CAPABILITY_NAMES.indexOf(known)));
	}, 0n);
}

/** The names in a mask, as in `CapEff` of /proc/PID/status; bits without a name here are left out. */
export function fromMask(mask: bigint): CapabilityName[] {
	return CAPABILITY_NAMES.filter((_, bit) => (mask & (1n << BigInt(bit))) !== 0n);
}

/**
 * The five sets of a process that has exactly `names`. Inheritable and ambient stay empty: with them, a program
 * that changed to an ordinary user would keep or pass on capabilities (CVE-2022-24769).
 */
export function toCapabilityMasks(names: readonly string[]): CapabilityMasks {
	const mask = toMask(names);
	return { bounding: mask, effective: mask, permitted: mask, inheritable: 0n, ambient: 0n };
}
