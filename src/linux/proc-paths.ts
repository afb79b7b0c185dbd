/**
 * Paths of /proc and /sys that a sandbox must not see or change: the defaults that container engines give their
 * OCI runtimes (runtime-spec 1.2 config-linux, maskedPaths and readonlyPaths). Those a kernel lacks are passed over.
 */

/** Hidden: they tell about the host, or about other tenants' activity. */
export const MASKED_PATHS: readonly string[] = [
	"/proc/acpi",
	"/proc/asound",
	"/proc/interrupts",
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/scsi",
	"/proc/sched_debug",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/sys/dev/block",
	"/sys/devices/virtual/powercap",
	"/sys/firmware",
	"/sys/fs/selinux",
];

/**
 * Hidden as well where there is no user namespace: their modes let only root in, and a sandbox's root is then the
 * host's. `dynamic_debug` takes writes without asking for a capability, and reading `zram-control/hot_add` makes a
 * device; the rest tells about all of the machine's memory.
 */
export const ROOT_ONLY_PATHS: readonly string[] = [
	"/proc/dynamic_debug",
	"/proc/kpagecgroup",
	"/proc/kpagecount",
	"/proc/kpageflags",
	"/proc/pagetypeinfo",
	"/proc/slabinfo",
	"/proc/vmallocinfo",
	"/sys/class/zram-control",
	"/sys/kernel/slab",
];

/** Readable, but writing would reach the whole machine. */
export const READONLY_PATHS: readonly string[] = [
	"/proc/bus",
	"/proc/fs",
	"/proc/irq",
	"/proc/sys",
	"/proc/sysrq-trigger",
];
