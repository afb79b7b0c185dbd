/** A failed plan as an error that its reader can act on: by operation and errno, never by text. */
import { type ErrorCode, ShaleError } from "../../lib/errors.ts";
import { PlanError } from "../../linux/jailer.ts";
import type { OpName } from "../../linux/plan.ts";

const EXHAUSTED = new Set(["ENOSPC", "ENOMEM", "EAGAIN", "EMFILE", "ENFILE", "EDQUOT"]);
const MISSING = new Set(["ENOSYS", "EINVAL", "EPERM", "EOPNOTSUPP", "ENODEV", "EUSERS"]);

/** What the owner of the host can do when an operation fails because the kernel will not do it. */
const FIXES: Partial<Record<OpName, string>> = {
	cgroup_create: "Mount cgroups below /sys/fs/cgroup and let this process write there.",
	cgroup_ensure: "Mount cgroups below /sys/fs/cgroup and let this process write there.",
	layer_mount:
		"Load the modules loop and squashfs; in a container, give it /dev/loop-control and CAP_SYS_ADMIN.",
	clone:
		"Allow user namespaces: sysctl user.max_user_namespaces, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0.",
	root_layer: "Linux 6.2 or later maps the owners of squashfs layers.",
	listen: "The run folder was removed under the daemon: restart it, and let nothing tidy that folder up.",
	root_upper_disk:
		"Load the modules loop and ext4; in a container, give it /dev/loop-control. A kept upper belongs to its first slot.",
	root_end: "Load the module overlay.",
	mount: "In a container, unmask /proc and /sys for it: only then may its sandboxes have their own.",
	seccomp: "Use a kernel with CONFIG_SECCOMP_FILTER.",
};

export function toLaunchError(error: unknown, id: string): unknown {
	if (!(error instanceof PlanError)) return error;
	const hint = FIXES[error.opName as OpName];
	return new ShaleError(codeOf(error), `starting sandbox ${id}: ${error.message}`, {
		hint: `${hint ?? "The plan shows each step: `shale explain`."} \`shale doctor\` tries each kernel feature.`,
		details: { operation: error.opName, index: error.opIndex, errno: error.errnoName, phase: error.phase },
		cause: error,
	});
}

function codeOf(error: PlanError): ErrorCode {
	if (EXHAUSTED.has(error.errnoName)) return "resource_exhausted";
	if (error.opName === "listen" && error.errnoName === "ENOENT") return "unavailable";
	return isMissing(error) ? "unsupported" : "internal";
}

/** Whether the kernel lacks something for good, or forbids it; other failures may pass. */
export function isMissing({ errnoName }: PlanError): boolean {
	return MISSING.has(errnoName);
}
