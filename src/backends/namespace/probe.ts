/**
 * Tries what the built-in backend needs by starting throw-away sandboxes on an empty layer: first with its own
 * range of user ids, then without. What fails is told by operation and errno.
 */
import { copyFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { ShaleError } from "../../lib/errors.ts";
import { type CgroupLayout, type CgroupPlan, planCreate, planRemove } from "../../linux/cgroups.ts";
import { type Jailer, type JailerExit, PlanError } from "../../linux/jailer.ts";
import { type CloneNamespace, op, type Plan } from "../../linux/plan.ts";
import type { Check } from "../backend.ts";
import { ID_RANGE_SIZE } from "./launch-plan.ts";
import { isMissing, toLaunchError } from "./plan-failure.ts";

/** Whether each sandbox gets host ids of its own. */
export type IdMapping = { readonly ok: true } | { readonly ok: false; readonly why: string };

export interface ProbeOptions {
	readonly jailer: ProbeJailer;
	/** Where the throw-away sandboxes are, so that one of a start that was killed is found. Default: nowhere. */
	readonly cgroups?: CgroupLayout;
	/** A squashfs image that holds nothing, and a folder to copy it to from which the jailer mounts images. */
	readonly emptyImageHostPath: string;
	readonly folderHostPath: string;
	readonly idsStart: number;
	/** Whether sandboxes without ids of their own are out of the question. */
	readonly isNeeded?: boolean;
}

type ProbeJailer = Pick<Jailer, "run" | "kill" | "onExit">;

const PROBE_LAYER = "probe";
const PROBE_IMAGE = "probe.squashfs";
/** No sandbox can be called so. */
const PROBE_CGROUP = `_probe-${process.pid}`;
const NO_CGROUPS: CgroupLayout = {
	mode: "none",
	v1: {},
	unified: undefined,
	swap: "absent",
	limitsSocketBuffers: false,
};
const NAMESPACES: readonly CloneNamespace[] = ["mount", "pid", "net", "ipc", "uts", "cgroup", "time"];

/**
 * @throws ShaleError when not even a sandbox without its own ids can be made, when the one with them failed for a
 * reason that may pass, and `unsupported` when these are needed and there are none.
 */
export async function probeIdMapping({
	jailer,
	emptyImageHostPath,
	folderHostPath,
	idsStart,
	isNeeded = false,
	cgroups = NO_CGROUPS,
}: ProbeOptions): Promise<IdMapping> {
	const cgroup = planCreate(cgroups, PROBE_CGROUP, {});
	const image = join(folderHostPath, PROBE_IMAGE);
	await copyFile(emptyImageHostPath, image);
	try {
		const mapped = await tryPlan(jailer, probePlan(image, cgroup, idsStart), cgroup);
		if (mapped === undefined) return { ok: true };
		// SECURITY: a moment's trouble must not leave all sandboxes without a user namespace for good.
		if (!isMissing(mapped) && !isForbidden(mapped)) throw toLaunchError(mapped, PROBE_LAYER);
		if (isNeeded) throw missingIds(mapped);
		const unmapped = await tryPlan(jailer, probePlan(image, cgroup, undefined), cgroup);
		if (unmapped !== undefined) throw toLaunchError(unmapped, PROBE_LAYER);
		return { ok: false, why: mapped.message };
	} finally {
		await rm(image, { force: true });
	}
}

function missingIds(cause: PlanError): ShaleError {
	const why = "a daemon that is an ordinary user gives each sandbox ids of its own, which this kernel cannot";
	return new ShaleError("unsupported", `${why}: ${cause.message}`, {
		hint: "Linux 6.2 or later maps the owners of squashfs layers. Or leave `user` out to run the daemon as root.",
		cause,
	});
}

/** user.max_user_namespaces = 0, user_namespaces(7). */
function isForbidden({ opName, errnoName }: PlanError): boolean {
	return opName === "clone" && errnoName === "ENOSPC";
}

export function probeChecks(mapping: IdMapping): Check[] {
	return [
		{
			name: "sandbox",
			ok: true,
			required: true,
			detail: "a throw-away sandbox with all namespaces, a layer and an overlay was started",
		},
		mapping.ok
			? {
					name: "own user ids",
					ok: true,
					required: false,
					detail: "each sandbox has a user namespace and a range of host ids of its own",
				}
			: {
					name: "own user ids",
					ok: false,
					required: false,
					detail: `sandboxes run without a user namespace: ${mapping.why}`,
					fix: "Linux 6.2 or later maps the owners of squashfs layers; user namespaces must be allowed.",
				},
	];
}

function probePlan(imageHostPath: string, cgroup: CgroupPlan, hostIdBase: number | undefined): Plan {
	const namespaces = hostIdBase === undefined ? NAMESPACES : (["user", ...NAMESPACES] as const);
	return [
		...cgroup.before,
		op.layerMount(PROBE_LAYER, imageHostPath),
		op.clone(namespaces, cgroup.unified === undefined ? {} : { cgroup2: cgroup.unified }),
		...cgroup.join,
		...(hostIdBase === undefined ? [] : [op.mapIds(hostIdBase, ID_RANGE_SIZE)]),
		op.rootBegin(),
		op.rootLayer(PROBE_LAYER),
		op.rootUpperTmpfs(1024 * 1024, 64),
		op.rootEnd(["nosuid", "nodev"]),
		op.guest(),
		op.enterRoot(),
		op.mount("proc", "/proc", ["nosuid", "nodev", "noexec"]),
		op.mount("sysfs", "/sys", ["ro", "nosuid", "nodev", "noexec"]),
		op.mountDev(),
		op.exec({ path: "@agent", argv: ["shale-agent"] }),
	];
}

/** Undefined when the sandbox came up. It is killed, and gone when this returns. */
async function tryPlan(
	jailer: ProbeJailer,
	plan: Plan,
	{ paths }: CgroupPlan,
): Promise<PlanError | undefined> {
	try {
		const { hostPid } = await jailer.run(plan);
		const exited = new Promise<JailerExit>((resolve) => jailer.onExit(hostPid, resolve));
		await jailer.kill(hostPid, 9);
		await exited;
		return undefined;
	} catch (error) {
		if (error instanceof PlanError) return error;
		throw error;
	} finally {
		await jailer.run([op.layerUnmount(PROBE_LAYER), ...planRemove(paths)]);
	}
}
