/** What a sandbox uses, read from its cgroups. */
import { readFile } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import { errnoCode } from "../lib/errors.ts";
import type { CgroupPaths } from "./cgroup-plan.ts";

/** A figure whose controller the sandbox has no cgroup in (because no limit needed it) is 0. */
export interface SandboxStats {
	readonly memoryBytes: number;
	/** The most at any time; 0 on v2 before Linux 5.19. */
	readonly memoryPeakBytes: number;
	/** The host's memory when there is no limit. */
	readonly memoryLimitBytes: number;
	readonly cpuUsageUs: number;
	/** Time that runnable processes were held back by the CPU limit. */
	readonly cpuThrottledUs: number;
	/** Processes and threads. */
	readonly processes: number;
	/** Processes that the kernel killed because the memory limit was reached. */
	readonly oomKills: number;
	/** Bytes read from and written to disks, where the io controller is on. */
	readonly io: { readonly readBytes: number; readonly writtenBytes: number } | undefined;
}

/** All zero after the cgroups are gone. */
export async function readStats(paths: CgroupPaths): Promise<SandboxStats> {
	const { unified, v1 } = paths;
	const [cpu, memory, processes, io] = await Promise.all([
		readCpu(paths),
		v1.memory !== undefined ? readMemoryV1(v1.memory) : readMemoryV2(unified),
		readProcesses(paths),
		unified === undefined ? undefined : readIo(unified),
	]);
	return { ...cpu, ...memory, processes, io };
}

async function readCpu({
	unified,
	v1,
}: CgroupPaths): Promise<Pick<SandboxStats, "cpuUsageUs" | "cpuThrottledUs">> {
	const [whole, limited] = await Promise.all([
		unified === undefined ? "" : read(unified, "cpu.stat"),
		v1.cpu === undefined ? "" : read(v1.cpu, "cpu.stat"),
	]);
	return {
		cpuUsageUs: keyed(whole, "usage_usec"),
		cpuThrottledUs:
			v1.cpu === undefined
				? keyed(whole, "throttled_usec")
				: Math.round(keyed(limited, "throttled_time") / 1000),
	};
}

type MemoryStats = Pick<SandboxStats, "memoryBytes" | "memoryPeakBytes" | "memoryLimitBytes" | "oomKills">;

async function readMemoryV1(hostPath: string): Promise<MemoryStats> {
	const [usage, peak, limit, oom] = await Promise.all([
		read(hostPath, "memory.usage_in_bytes"),
		read(hostPath, "memory.max_usage_in_bytes"),
		read(hostPath, "memory.limit_in_bytes"),
		read(hostPath, "memory.oom_control"),
	]);
	return memoryStats({ usage, peak, limit, oom });
}

async function readMemoryV2(hostPath: string | undefined): Promise<MemoryStats> {
	if (hostPath === undefined) return memoryStats({ usage: "", peak: "", limit: "", oom: "" });
	const [usage, peak, limit, oom] = await Promise.all([
		read(hostPath, "memory.current"),
		read(hostPath, "memory.peak"),
		read(hostPath, "memory.max"),
		read(hostPath, "memory.events"),
	]);
	return memoryStats({ usage, peak, limit, oom });
}

/** An unlimited v1 cgroup says 9223372036854771712, a v2 one `max`. */
function memoryStats(text: { usage: string; peak: string; limit: string; oom: string }): MemoryStats {
	return {
		memoryBytes: number(text.usage),
		memoryPeakBytes: number(text.peak),
		memoryLimitBytes: Math.min(number(text.limit) || totalmem(), totalmem()),
		oomKills: keyed(text.oom, "oom_kill"),
	};
}

async function readProcesses({ unified, v1 }: CgroupPaths): Promise<number> {
	const hostPath = v1.pids ?? unified;
	return hostPath === undefined ? 0 : number(await read(hostPath, "pids.current"));
}

async function readIo(unified: string): Promise<SandboxStats["io"]> {
	const text = await read(unified, "io.stat");
	if (text === "") return undefined;
	const sum = (key: string) =>
		[...text.matchAll(new RegExp(`\\b${key}=(\\d+)`, "g"))].reduce(
			(total, match) => total + number(match[1]),
			0,
		);
	return { readBytes: sum("rbytes"), writtenBytes: sum("wbytes") };
}

/** Empty when the file or its cgroup is not there; a cgroup that goes away under the reader gives ENODEV. */
async function read(hostPath: string, file: string): Promise<string> {
	try {
		return await readFile(join(hostPath, file), "utf8");
	} catch (error) {
		if (["ENOENT", "ENODEV"].includes(errnoCode(error) ?? "")) return "";
		throw error;
	}
}

function keyed(text: string, key: string): number {
	return number(new RegExp(`^${key} (\\d+)$`, "m").exec(text)?.[1]);
}

function number(text = ""): number {
	const value = Number(text.trim());
	return Number.isFinite(value) ? value : 0;
}
