/**
 * The plan of a sandbox of the built-in backend: from what is wanted to a flat list of operations. Pure: it
 * reads nothing and makes nothing, so the whole isolation of a sandbox can be read and tested here.
 */
import { DEFAULT_CAPABILITIES, toCapabilityMasks } from "../../linux/capabilities.ts";
import { LOOPBACK_INDEX, linkUp } from "../../linux/netlink.ts";
import { type CloneNamespace, type Op, op, type Plan } from "../../linux/plan.ts";
import { MASKED_PATHS, READONLY_PATHS, ROOT_ONLY_PATHS } from "../../linux/proc-paths.ts";

/** Host uids and gids of one sandbox, for guest ids from 0: it shares none with the host or another sandbox. */
export const ID_RANGE_SIZE = 65_536;

/** The slots in which the plan keeps descriptors until exec. */
const AGENT_SOCKET_SLOT = 0;
/** Inodes per byte of a tmpfs upper: one for each 4 KiB page, as the kernel's own default for memory. */
const BYTES_PER_INODE = 4096;
/** As container engines have it; it counts as the sandbox's memory. */
const SHM_BYTES = 64 * 1024 * 1024;

const PTS_OPTIONS = "newinstance,ptmxmode=0666,mode=0620,gid=5";
/** Of the 3072 that the kernel has for all sandboxes together (kernel.pty.max less kernel.pty.reserve). */
const MAX_TERMINALS = 128;

export interface LaunchPlanInput {
	readonly hostname: string;
	/** Ids under which the layers are mounted, bottom first. */
	readonly mountIds: readonly string[];
	readonly socketHostPath: string;
	readonly upper:
		| { readonly kind: "tmpfs"; readonly bytes: number }
		| { readonly kind: "disk"; readonly imageHostPath: string };
	/** First host id of the sandbox's range; undefined where the kernel cannot map the layers. */
	readonly hostIdBase: number | undefined;
	readonly cgroups: {
		readonly before: readonly Op[];
		/** The unified cgroup that the child is cloned into, where there is one. */
		readonly unified: string | undefined;
		readonly join: readonly Op[];
	};
	/** struct sock_filter[], see linux/seccomp.ts. */
	readonly seccompFilter: Uint8Array;
}

export function compileLaunchPlan(input: LaunchPlanInput): Plan {
	return [...hostOps(input), ...rootOps(input), ...guestOps(input), ...confineOps(input), execAgent()];
}

function hostOps({ cgroups, socketHostPath, hostIdBase }: LaunchPlanInput): Op[] {
	const namespaces: CloneNamespace[] = ["mount", "pid", "net", "ipc", "uts", "cgroup", "time"];
	if (hostIdBase !== undefined) namespaces.unshift("user");
	return [
		...cgroups.before,
		op.listen(AGENT_SOCKET_SLOT, socketHostPath),
		op.clone(namespaces, cgroups.unified === undefined ? {} : { cgroup2: cgroups.unified }),
		...cgroups.join,
		...(hostIdBase === undefined ? [] : [op.mapIds(hostIdBase, ID_RANGE_SIZE)]),
	];
}

function rootOps({ mountIds, upper }: LaunchPlanInput): Op[] {
	return [
		op.rootBegin(),
		...mountIds.map((id) => op.rootLayer(id)),
		upper.kind === "tmpfs"
			? op.rootUpperTmpfs(upper.bytes, Math.ceil(upper.bytes / BYTES_PER_INODE))
			: op.rootUpperDisk(upper.imageHostPath),
		op.rootEnd(["nosuid", "nodev"]),
	];
}

function guestOps({ hostname, hostIdBase }: LaunchPlanInput): Op[] {
	const hidden = hostIdBase === undefined ? [...MASKED_PATHS, ...ROOT_ONLY_PATHS] : MASKED_PATHS;
	return [
		op.guest(),
		// First, as these two run while the jailer still builds the root.
		op.hostname(hostname),
		op.netlink(linkUp(LOOPBACK_INDEX)),
		op.enterRoot(),
		op.mount("proc", "/proc", ["nosuid", "nodev", "noexec"]),
		op.mount("sysfs", "/sys", ["ro", "nosuid", "nodev", "noexec"]),
		op.mountDev(),
		op.mount("devpts", "/dev/pts", ["nosuid", "noexec"], `${PTS_OPTIONS},max=${MAX_TERMINALS}`),
		op.mount("tmpfs", "/dev/shm", ["nosuid", "nodev", "noexec"], `mode=1777,size=${SHM_BYTES}`),
		op.mount("mqueue", "/dev/mqueue", ["nosuid", "nodev", "noexec"]),
		...hidden.map((path) => op.mask(path)),
		...READONLY_PATHS.map((path) => op.readonly(path)),
	];
}

/** Order matters: each of these takes away what the one before still needed. */
function confineOps({ seccompFilter }: LaunchPlanInput): Op[] {
	return [
		op.rlimit("core", 0, 0),
		op.capabilities(toCapabilityMasks(DEFAULT_CAPABILITIES)),
		op.noNewPrivs(),
		op.seccomp(seccompFilter),
	];
}

function execAgent(): Op {
	return op.exec({ path: "@agent", keep: [AGENT_SOCKET_SLOT], argv: ["shale-agent"] });
}
