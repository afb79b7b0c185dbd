/**
 * What Shale could leave behind on a host: mounts, loop devices, cgroups, network namespaces, processes and
 * files. A run takes an inventory before and after; what only the second one has was leaked.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Inventory = ReadonlyMap<string, ReadonlySet<string>>;

const KINDS: Readonly<Record<string, () => string[]>> = {
	mount: listMounts,
	loop: listLoops,
	cgroup: listCgroups,
	netns: listNetworkNamespaces,
	process: listProcesses,
	file: listFiles,
};

export function takeInventory(): Inventory {
	return new Map(Object.entries(KINDS).map(([kind, list]) => [kind, new Set(list())]));
}

/** One line a leaked thing, such as `cgroup /sys/fs/cgroup/pids/shale/sb-1`. */
export function findLeaks(before: Inventory, after: Inventory): string[] {
	return [...after].flatMap(([kind, things]) =>
		[...things].filter((thing) => !before.get(kind)?.has(thing)).map((thing) => `${kind} ${thing}`),
	);
}

/**
 * Leaks that are still there after `deadlineMs`: the kernel frees namespaces in the background, and the host's
 * init may take seconds to reap an orphan.
 */
export async function waitForNoLeaks(before: Inventory, deadlineMs = 10_000): Promise<string[]> {
	const end = Date.now() + deadlineMs;
	for (;;) {
		const leaks = findLeaks(before, takeInventory());
		if (leaks.length === 0 || Date.now() > end) return leaks;
		await new Promise((resolve) => setTimeout(resolve, 100));
	}
}

function listMounts(): string[] {
	return readFileSync("/proc/self/mountinfo", "utf8")
		.split("\n")
		.filter((line) => line !== "")
		.map((line) => line.split(" ").slice(2, 5).join(" "));
}

function listLoops(): string[] {
	return readdirSync("/sys/block")
		.filter((name) => name.startsWith("loop") && existsSync(`/sys/block/${name}/loop/backing_file`))
		.map((name) => `${name} ${readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8").trim()}`);
}

/** In each hierarchy `shale` stays; below it are the daemons', and below those the sandboxes'. */
function listCgroups(): string[] {
	const roots = ["/sys/fs/cgroup", ...listFolders("/sys/fs/cgroup")];
	const daemons = roots.flatMap((root) => listFolders(join(root, "shale")));
	return daemons.flatMap((daemon) => [daemon, ...listFolders(daemon)]);
}

function listFolders(hostPath: string): string[] {
	if (!existsSync(hostPath)) return [];
	return readdirSync(hostPath, { withFileTypes: true })
		.filter((entry) => entry.isDirectory())
		.map((entry) => join(hostPath, entry.name));
}

function listPids(): string[] {
	return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
}

/** By the inode numbers of /proc/PID/ns/net, namespaces(7). */
function listNetworkNamespaces(): string[] {
	return [...new Set(listPids().map((pid) => tryRead(() => readlinkSync(`/proc/${pid}/ns/net`))))];
}

/** Living processes whose command line is of Shale or of what it starts; zombies have none. */
function listProcesses(): string[] {
	return listPids()
		.map((pid) => ({ pid, argv: tryRead(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) }))
		.filter(({ pid, argv }) => Number(pid) !== process.pid && /shale|mksquashfs|mmdebstrap/.test(argv))
		.map(({ pid, argv }) => `${pid} ${argv.replaceAll("\0", " ").trim()}`);
}

function listFiles(): string[] {
	const hosts = [tmpdir(), "/run", "/run/shale/sandboxes", "/var/lib/shale/uppers", "/var/lib/shale/layers"];
	return hosts
		.filter((hostPath) => existsSync(hostPath))
		.flatMap((hostPath) =>
			readdirSync(hostPath)
				.filter((name) => /shale|^\.partial|\.sock$|\.ext4$/.test(name))
				.map((name) => join(hostPath, name)),
		);
}

/** A process may end between listing and reading. */
function tryRead(read: () => string): string {
	try {
		return read();
	} catch {
		return "";
	}
}
