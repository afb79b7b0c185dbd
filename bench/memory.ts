/** What an idle sandbox and an idle daemon cost in memory. */
import { globSync, readdirSync, readFileSync } from "node:fs";
import type { HttpConnection } from "./http-connection.ts";
import { expect } from "./subjects.ts";

const SANDBOXES = 50;

/** VmRSS, proc_pid_status(5). */
export function residentBytes(pid: number): number {
	return readKib(`/proc/${pid}/status`, "VmRSS") * 1024;
}

/** A transfer of a second must not rise and fall unseen. */
const LOOK_EVERY_MS = 20;

/** `stop` tells how far the resident memory rose above what it is now; it may be called again. */
export function watchResident(pid: number): { readonly stop: () => number } {
	const beforeBytes = residentBytes(pid);
	let peakBytes = beforeBytes;
	const look = () => {
		peakBytes = Math.max(peakBytes, residentBytes(pid));
	};
	const timer = setInterval(look, LOOK_EVERY_MS);
	return {
		stop() {
			clearInterval(timer);
			look();
			return peakBytes - beforeBytes;
		},
	};
}

/** Means over many idle sandboxes: the agents' proportional set size, and their cgroups' kernel memory. */
export async function idleMemory(
	http: HttpConnection,
	layers: readonly string[],
): Promise<{ agentPssBytes: number; cgroupKernelBytes: number }> {
	const ids = Array.from({ length: SANDBOXES }, (_, n) => `idle-${process.pid}-${n}`);
	for (const id of ids)
		await expect(http, 201, { method: "POST", path: "/v1/sandboxes", body: { id, layers } });
	const pss = agentPids().map((pid) => readKib(`/proc/${pid}/smaps_rollup`, "Pss") * 1024);
	const kernel = ids.map(kernelBytes);
	for (const id of ids) await expect(http, 204, { method: "DELETE", path: `/v1/sandboxes/${id}` });
	return { agentPssBytes: mean(pss), cgroupKernelBytes: mean(kernel) };
}

function agentPids(): string[] {
	return readdirSync("/proc").filter((name) => {
		if (!/^\d+$/.test(name)) return false;
		try {
			return readFileSync(`/proc/${name}/cmdline`, "utf8").startsWith("shale-agent\0");
		} catch {
			return false;
		}
	});
}

/** cgroup v1 has a file for it; v2 has `kernel` in memory.stat. */
function kernelBytes(id: string): number {
	const [v1] = globSync(`/sys/fs/cgroup/memory/shale/*/${id}/memory.kmem.usage_in_bytes`);
	if (v1 !== undefined) return Number(readFileSync(v1, "utf8"));
	const [v2 = ""] = globSync(`/sys/fs/cgroup/shale/*/${id}/memory.stat`);
	return Number(/^kernel (\d+)$/m.exec(readFileSync(v2, "utf8"))?.[1] ?? Number.NaN);
}

function readKib(hostPath: string, key: string): number {
	const text = readFileSync(hostPath, "utf8");
	return Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? Number.NaN);
}

function mean(values: readonly number[]): number {
	return values.reduce((sum, value) => sum + value, 0) / values.length;
}
