/** What the host has left. All of it is read synchronously: each costs some microseconds, less than the thread pool. */
import { existsSync, readdirSync, readFileSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { MIB } from "../lib/units.ts";

export interface ReadOptions {
	/** For tests: where /proc, /sys and /dev are. Default `/`. */
	readonly rootPath?: string;
}

/** What programs can get without swapping: proc_meminfo(5), MemAvailable. */
export function readAvailableMemoryMiB({ rootPath = "/" }: ReadOptions = {}): number {
	const text = readFileSync(join(rootPath, "proc/meminfo"), "utf8");
	return Math.floor(Number(/^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) / 1024);
}

/** What anybody can still write on the file system of this path. */
export function readFreeDiskMiB(hostPath: string): number {
	const { bavail, bsize } = statfsSync(hostPath);
	return Math.floor((bavail * bsize) / MIB);
}

/** Processes and threads that can still be started: the lower of pid_max and threads-max, less those there are. */
export function readFreeProcesses({ rootPath = "/" }: ReadOptions = {}): number {
	const read = (path: string) => readFileSync(join(rootPath, "proc", path), "utf8");
	const most = Math.min(Number(read("sys/kernel/pid_max")), Number(read("sys/kernel/threads-max")));
	// proc_loadavg(5): the fourth field is "runnable/all", in threads.
	const inUse = Number(/ \d+\/(\d+) /.exec(read("loadavg"))?.[1] ?? 0);
	return most - inUse;
}

/** Minor numbers of loop devices, drivers/block/loop.c. */
const MOST_LOOP_DEVICES = 1 << 20;

/** Loop devices that can still be attached: loop(4) makes them on demand where there is /dev/loop-control. */
export function readFreeLoopDevices({ rootPath = "/" }: ReadOptions = {}): number {
	if (existsSync(join(rootPath, "dev/loop-control"))) return MOST_LOOP_DEVICES;
	return readdirSync(join(rootPath, "dev"))
		.filter((name) => /^loop\d+$/.test(name))
		.filter((name) => !existsSync(join(rootPath, "sys/block", name, "loop/backing_file"))).length;
}

export interface ImageFile {
	/** Its name without the ending. */
	readonly name: string;
	readonly sizeMiB: number;
	/** On the disk; the rest of a sparse file takes room only as it is written. */
	readonly allocatedMiB: number;
}

/** stat(2): st_blocks counts 512 bytes, whatever the file system's own blocks are. */
const STAT_BLOCK_BYTES = 512;

/** The files of a folder. */
export function readImages(hostFolder: string): ImageFile[] {
	return readdirSync(hostFolder).flatMap((file) => {
		const stats = statSync(join(hostFolder, file), { throwIfNoEntry: false });
		if (!stats?.isFile()) return [];
		const name = file.replace(/\.\w+$/, "");
		return [{ name, sizeMiB: stats.size / MIB, allocatedMiB: (stats.blocks * STAT_BLOCK_BYTES) / MIB }];
	});
}
