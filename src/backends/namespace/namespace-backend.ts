/**
 * The built-in backend: the jailer executes our own plan. One fact to know: layers are mounted in the jailer's
 * private mount namespace and the overlay in the sandbox's own, so the kernel takes all mounts away with the
 * processes that hold them.
 */
import { rm } from "node:fs/promises";
import type { LayerMounts } from "../../layers/mounts.ts";
import { type CleanupStack, withCleanup } from "../../lib/cleanup.ts";
import { ShaleError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import {
	type CgroupLayout,
	type CgroupPaths,
	type CgroupPlan,
	findCgroups,
	hierarchiesOf,
	killAndWait,
	listCgroups,
	planCreate,
	planRemove,
	removeUnusedParents,
} from "../../linux/cgroups.ts";
import type { JailerChild } from "../../linux/jailer.ts";
import { explainPlan, type Plan } from "../../linux/plan.ts";
import type { ResidentJailer } from "../../linux/resident-jailer.ts";
import { compileSeccomp } from "../../linux/seccomp.ts";
import { DEFAULT_PROFILE } from "../../linux/seccomp-default.ts";
import type { Backend, BackendRecord, Check, HostResource, LaunchedSandbox, LaunchSpec } from "../backend.ts";
import { createDiskImage, reopenDiskImage } from "./disk-image.ts";
import { compileLaunchPlan, ID_RANGE_SIZE } from "./launch-plan.ts";
import {
	type HostFolders,
	imagePath,
	listImages,
	listNamespaceResources,
	listSockets,
	socketPath,
} from "./namespace-resources.ts";
import { NamespaceSandbox, type NamespaceSandboxParts } from "./namespace-sandbox.ts";
import { toLaunchError } from "./plan-failure.ts";
import { type IdMapping, probeChecks } from "./probe.ts";

export interface NamespaceBackendOptions {
	readonly jailer: ResidentJailer;
	readonly mounts: LayerMounts;
	readonly cgroups: CgroupLayout;
	readonly folders: HostFolders;
	/** First host id of the first sandbox's range. */
	readonly idsStart: number;
	/** Whether this kernel can give each sandbox its own range of ids, see probe.ts. */
	readonly idMapping: IdMapping;
	readonly log: Log;
}

/** A launch in which the jailer died is tried once more. */
const LAUNCH_ATTEMPTS = 2;

export class NamespaceBackend implements Backend {
	readonly name = "namespace";
	readonly #options: NamespaceBackendOptions;
	readonly #seccompFilter: Uint8Array = compileSeccomp(DEFAULT_PROFILE);

	constructor(options: NamespaceBackendOptions) {
		this.#options = options;
		options.jailer.onRestart(() => options.mounts.forgetAll());
	}

	async probe(): Promise<readonly Check[]> {
		return probeChecks(this.#options.idMapping);
	}

	async explain(spec: LaunchSpec): Promise<string> {
		return explainPlan(this.#compile(spec, { mountIds: spec.layers, cgroups: this.#planCgroups(spec) }));
	}

	async launch(spec: LaunchSpec): Promise<LaunchedSandbox> {
		const { jailer, log } = this.#options;
		for (let attempt = 1; ; attempt++) {
			const { generation } = jailer;
			try {
				return await this.#tryLaunch(spec);
			} catch (error) {
				if (jailer.generation === generation) throw toLaunchError(error, spec.id);
				log.warn({ err: error, sandbox: spec.id, attempt }, "the jailer died while it started a sandbox");
				await this.#removeRemains(spec.id);
				if (attempt === LAUNCH_ATTEMPTS) throw lostLaunch(error, spec.id);
			}
		}
	}

	async adopt(spec: LaunchSpec, record: BackendRecord): Promise<LaunchedSandbox | undefined> {
		const { jailer, mounts } = this.#options;
		const child = parseRecord(record);
		const cgroups = await findCgroups(this.#options.cgroups, spec.id);
		const [cgroupHostPath] = hierarchiesOf(cgroups);
		if (child === undefined || cgroupHostPath === undefined) return undefined;
		if (!(await jailer.repeat(() => jailer.watch(child, cgroupHostPath)))) return undefined;
		// Its layers are mounted in its own namespace.
		return this.#toSandbox(spec, { child, cgroups, lease: mounts.hold(spec.layers) });
	}

	async remove(id: string, { keepsUpper = false }: { readonly keepsUpper?: boolean } = {}): Promise<void> {
		const { cgroups, folders } = this.#options;
		await this.#removeCgroups(await findCgroups(cgroups, id));
		await rm(socketPath(folders, id), { force: true });
		if (!keepsUpper) await rm(imagePath(folders, id), { force: true });
	}

	listResources(): Promise<readonly HostResource[]> {
		return listNamespaceResources(this.#options);
	}

	async removeOrphans(
		known: ReadonlySet<string>,
		{ keepUppers = new Set() }: { readonly keepUppers?: ReadonlySet<string> } = {},
	): Promise<void> {
		const { cgroups, folders } = this.#options;
		for (const paths of await listCgroups(cgroups)) {
			if (!known.has(paths.name)) await this.#removeCgroups(paths);
		}
		for (const id of await listSockets(folders)) {
			if (!known.has(id)) await rm(socketPath(folders, id), { force: true });
		}
		for (const id of await listImages(folders)) {
			if (!known.has(id) && !keepUppers.has(id)) await rm(imagePath(folders, id), { force: true });
		}
	}

	async close(): Promise<void> {
		const { jailer, mounts, cgroups } = this.#options;
		await mounts.close();
		await removeUnusedParents((ops) => jailer.run(ops), cgroups);
	}

	#tryLaunch(spec: LaunchSpec): Promise<LaunchedSandbox> {
		const { jailer, mounts, log } = this.#options;
		return withCleanup<LaunchedSandbox>(
			async (cleanup) => {
				const lease = await mounts.acquire(spec.layers);
				cleanup.add(() => lease.release());
				if (spec.upper === "disk") await this.#openImage(spec, cleanup);
				const cgroups = this.#planCgroups(spec);
				const child = await jailer.run(this.#compile(spec, { mountIds: lease.mountIds, cgroups }));
				return this.#toSandbox(spec, { child, cgroups: cgroups.paths, lease });
			},
			(error) => log.error({ err: error, sandbox: spec.id }, "undoing a launch failed"),
		);
	}

	async #openImage({ id, limits, keepsUpper }: LaunchSpec, cleanup: CleanupStack): Promise<void> {
		const hostPath = imagePath(this.#options.folders, id);
		if (keepsUpper) {
			await reopenDiskImage(hostPath);
			return;
		}
		await createDiskImage(hostPath, limits.diskBytes);
		cleanup.add(() => rm(hostPath, { force: true }));
	}

	#toSandbox(
		{ id, upper }: LaunchSpec,
		made: Pick<NamespaceSandboxParts, "child" | "cgroups" | "lease">,
	): NamespaceSandbox {
		const { jailer, folders } = this.#options;
		return new NamespaceSandbox({
			...made,
			id,
			jailer,
			socketHostPath: socketPath(folders, id),
			imageHostPath: upper === "disk" ? imagePath(folders, id) : undefined,
		});
	}

	/** What a jailer had made of a sandbox when it died; a failure to remove it is only logged. */
	async #removeRemains(id: string): Promise<void> {
		try {
			await this.remove(id, { keepsUpper: true });
		} catch (error) {
			this.#options.log.error({ err: error, sandbox: id }, "removing what is left of a launch failed");
		}
	}

	#removeCgroups(paths: CgroupPaths): Promise<unknown> {
		const { jailer } = this.#options;
		return jailer.repeat(async () => {
			await killAndWait((ops) => jailer.run(ops), paths);
			await jailer.run(planRemove(paths));
		});
	}

	#planCgroups({ id, limits }: LaunchSpec): CgroupPlan {
		const { cgroups, idMapping } = this.#options;
		const { cpuMillis, memoryBytes, swapBytes, processes } = limits;
		return planCreate(cgroups, id, {
			cpuMillis,
			memoryBytes,
			swapBytes,
			processes,
			// Root of a user namespace of its own can neither make nor open device nodes. Where there is none, the
			// missing CAP_MKNOD and nodev see to it, and the controller stands behind them where there is one.
			onlyStandardDevices: !idMapping.ok && cgroups.v1.devices !== undefined,
		});
	}

	#compile(
		spec: LaunchSpec,
		made: { readonly mountIds: readonly string[]; readonly cgroups: CgroupPlan },
	): Plan {
		const { folders, idMapping, idsStart } = this.#options;
		return compileLaunchPlan({
			hostname: spec.hostname,
			mountIds: made.mountIds,
			cgroups: made.cgroups,
			socketHostPath: socketPath(folders, spec.id),
			upper:
				spec.upper === "tmpfs"
					? { kind: "tmpfs", bytes: spec.limits.diskBytes }
					: { kind: "disk", imageHostPath: imagePath(folders, spec.id) },
			hostIdBase: idMapping.ok ? idsStart + spec.slot * ID_RANGE_SIZE : undefined,
			seccompFilter: this.#seccompFilter,
		});
	}
}

/** Whatever failed first, it is the jailer's death that the caller can do something about. */
function lostLaunch(cause: unknown, id: string): ShaleError {
	return new ShaleError("unavailable", `starting sandbox ${id}: the jailer died while it did`, { cause });
}

/** Undefined for a record of another shape, which a sandbox of ours cannot have. */
function parseRecord({ hostPid, startTicks }: BackendRecord): JailerChild | undefined {
	if (typeof hostPid !== "number" || typeof startTicks !== "number") return undefined;
	return { hostPid, startTicks };
}
