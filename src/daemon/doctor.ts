/** `shale doctor`: tries what Shale needs of this host and tells, for each thing, what was seen and the fix. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DoctorCheck, DoctorReport } from "../api/daemon-operations.ts";
import type { Backend, Check } from "../backends/backend.ts";
import { toLaunchError } from "../backends/namespace/plan-failure.ts";
import { probeChecks, probeIdMapping } from "../backends/namespace/probe.ts";
import { toShaleError } from "../lib/errors.ts";
import type { CgroupLayout } from "../linux/cgroups.ts";
import { detectKernelFeatures } from "../linux/features.ts";
import { Jailer } from "../linux/jailer.ts";
import type { Config } from "./config.ts";
import { findNativePrograms } from "./native-programs.ts";

/** With the daemon's own backends and cgroups. */
export async function checkHost(backends: readonly Backend[], cgroups: CgroupLayout): Promise<DoctorReport> {
	const probes = await Promise.all(backends.map((backend) => backend.probe()));
	return toReport([...(await detectKernelFeatures({ cgroups })), ...probes.flat()]);
}

/** Without a daemon: starts a jailer for the time of the probe, in a folder of its own. */
export async function doctor(config: Pick<Config, "idsStart">): Promise<DoctorReport> {
	const runDir = await mkdtemp(join(tmpdir(), "shale-doctor-"));
	try {
		// Before anything is looked at: the kernel loads squashfs, overlay and loop when they are first used.
		const sandbox = await tryNamespaceBackend(runDir, config.idsStart);
		return toReport([...(await detectKernelFeatures()), ...sandbox]);
	} finally {
		await rm(runDir, { recursive: true, force: true });
	}
}

async function tryNamespaceBackend(runDir: string, idsStart: number): Promise<readonly Check[]> {
	try {
		const { jailer: jailerPath, agent: agentPath, emptyImage } = findNativePrograms();
		const jailer = await Jailer.start({ jailerPath, agentPath, runDir });
		try {
			return probeChecks(
				await probeIdMapping({ jailer, emptyImageHostPath: emptyImage, folderHostPath: runDir, idsStart }),
			);
		} finally {
			await jailer.close();
		}
	} catch (error) {
		const { message, hint } = toShaleError(toLaunchError(error, "probe"));
		return [{ name: "sandbox", ok: false, required: true, detail: message, ...(hint && { fix: hint }) }];
	}
}

function toReport(checks: readonly Check[]): DoctorReport {
	return {
		checks: checks.map(({ required: _, ...check }) => check satisfies DoctorCheck),
		ready: checks.every(({ ok, required }) => ok || !required),
	};
}
