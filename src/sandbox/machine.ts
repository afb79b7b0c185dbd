/** Reads what the host has, for the bounds of limits. */
import { readFileSync, statfsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { MIB } from "../lib/units.ts";
import type { Machine } from "./resolve.ts";

/** @param dataHostPath the folder in which disk uppers are made. */
export function readMachine(dataHostPath: string): Machine {
	const { blocks, bsize } = statfsSync(dataHostPath);
	return { ...HOST_FACTS, diskMiB: Math.floor((blocks * bsize) / MIB) };
}

const HOST_FACTS = {
	cores: availableParallelism(),
	memoryMiB: readMeminfoMiB("MemTotal"),
	swapMiB: readMeminfoMiB("SwapTotal"),
	openFiles: readHardLimit("Max open files"),
	processes: Number(readFileSync("/proc/sys/kernel/pid_max", "utf8")),
} as const;

function readMeminfoMiB(key: string): number {
	const match = new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(readFileSync("/proc/meminfo", "utf8"));
	return Math.floor(Number(match?.[1] ?? 0) / 1024);
}

/** proc_pid_limits(5): name, soft, hard, unit. */
function readHardLimit(name: string): number {
	const match = new RegExp(`^${name}\\s+\\S+\\s+(\\S+)`, "m").exec(readFileSync("/proc/self/limits", "utf8"));
	return match?.[1] === "unlimited" ? Number.MAX_SAFE_INTEGER : Number(match?.[1] ?? 0);
}
