/**
 * The built-in backend: the jailer executes our own plan. One fact to know: layers are mounted in the jailer's
 * private mount namespace and the overlay in the sandbox's own, so the kernel takes all mounts away with the
 * processes that hold them.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { LayerMounts } from "../../layers/mounts.ts";
import { withCleanup } from "../../lib/cleanup.ts";
import type { Log } from "../../lib/log.ts";
import {
	type CgroupLayout,
	type CgroupPlan,
	killAndWait,
	listCgroups,
	planCreate,
	planRemove,
	planRemoveParents,
} from "../../linux/cgroups.ts";
import type { Jailer } from "../../linux/jailer.ts";
import { explainPlan, type Plan } from "../../linux/plan.ts";
import { compileSeccomp } from "../../linux/seccomp.ts";
import { DEFAULT_PROFILE } from "../../linux/seccomp-default.ts";
import type { Backend, Check, LaunchedSandbox, LaunchSpec } from "../backend.ts";
import { createDiskImage } from "./disk-image.ts";
import { compileLaunchPlan, ID_RANGE_SIZE } from "./launch-plan.ts";
import { NamespaceSandbox } from "./namespace-sandbox.ts";
import { toLaunchError } from "./plan-failure.ts";
import { type IdMapping, probeChecks } from "./probe.ts";

export interface NamespaceBackendOptions {
	readonly jailer: Jailer;
	readonly mounts: LayerMounts;
	readonly cgroups: CgroupLayout;
	/** Folder of the agents' sockets. */
	readonly socketsHostPath: string;
	/** Folder of disk uppers. */
	readonly uppersHostPath: string;
	/** First host id of the first sandbox's range. */
	readonly idsStart: number;
	/** Whether this kernel can give each sandbox its own range of ids, see probe.ts. */
	readonly idMapping: IdMapping;
	readonly log: Log;
}

export class NamespaceBackend implements Backend {
	readonly name = "namespace";
	readonly #options: NamespaceBackendOptions;
	readonly #seccompFilter: Uint8Array = compileSeccomp(DEFAULT_PROFILE);

	constructor(options: NamespaceBackendOptions) {
		this.#options = options;
	}

	async probe(): Promise<readonly Check[]> {
		return probeChecks(this.#options.idMapping);
	}

	async explain(spec: LaunchSpec): Promise<string> {
		return explainPlan(this.#compile(spec, { mountIds: spec.layers, cgroups: this.#planCgroups(spec) }));
	}

	launch(spec: LaunchSpec): Promise<LaunchedSandbox> {
		const { jailer, mounts, log } = this.#options;
		return withCleanup<LaunchedSandbox>(
			async (cleanup) => {
				const lease = await mounts.acquire(spec.layers);
				cleanup.add(() => lease.release());
				const imageHostPath = spec.upper === "disk" ? this.#imagePath(spec.id) : undefined;
				if (imageHostPath !== undefined) {
					await createDiskImage(imageHostPath, spec.limits.diskBytes);
					cleanup.add(() => rm(imageHostPath, { force: true }));
				}
				const cgroups = this.#planCgroups(spec);
				const plan = this.#compile(spec, { mountIds: lease.mountIds, cgroups });
				const { hostPid } = await jailer.run(plan);
				const socketHostPath = this.#socketPath(spec.id);
				const parts = { id: spec.id, hostPid, jailer, lease, socketHostPath, imageHostPath };
				return new NamespaceSandbox({ ...parts, cgroups: cgroups.paths });
			},
			(error) => log.error({ err: error, sandbox: spec.id }, "undoing a launch failed"),
		).catch((error: unknown) => {
			throw toLaunchError(error, spec.id);
		});
	}

	async removeOrphans(known: ReadonlySet<string>): Promise<void> {
		const { jailer, cgroups, socketsHostPath, uppersHostPath } = this.#options;
		for (const paths of await listCgroups(cgroups)) {
			if (known.has(paths.name)) continue;
			await killAndWait(paths);
			await jailer.run(planRemove(paths));
		}
		for (const [folder, ending] of [
			[socketsHostPath, SOCKET_ENDING],
			[uppersHostPath, IMAGE_ENDING],
		] as const) {
			for (const file of await readdir(folder)) {
				if (!known.has(file.slice(0, -ending.length))) await rm(join(folder, file), { force: true });
			}
		}
	}

	async close(): Promise<void> {
		const { jailer, mounts, cgroups } = this.#options;
		await mounts.close();
		await jailer.run(planRemoveParents(cgroups));
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
		const { idMapping, idsStart } = this.#options;
		return compileLaunchPlan({
			hostname: spec.hostname,
			mountIds: made.mountIds,
			cgroups: made.cgroups,
			socketHostPath: this.#socketPath(spec.id),
			upper:
				spec.upper === "tmpfs"
					? { kind: "tmpfs", bytes: spec.limits.diskBytes }
					: { kind: "disk", imageHostPath: this.#imagePath(spec.id) },
			hostIdBase: idMapping.ok ? idsStart + spec.slot * ID_RANGE_SIZE : undefined,
			seccompFilter: this.#seccompFilter,
		});
	}

	#socketPath(id: string): string {
		return join(this.#options.socketsHostPath, id + SOCKET_ENDING);
	}

	#imagePath(id: string): string {
		return join(this.#options.uppersHostPath, id + IMAGE_ENDING);
	}
}

const SOCKET_ENDING = ".sock";
const IMAGE_ENDING = ".ext4";
