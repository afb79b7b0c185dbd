/**
 * What Shale could leave behind on a host: mounts, loop devices, cgroups, network namespaces and interfaces, firewall
 * rules, processes, listening ports and files. It knows nothing of what the daemon itself looks for. A run takes an inventory before and after; what only the second one has was leaked.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Inventory = ReadonlyMap<string, ReadonlySet<string>>;

const KINDS: Readonly<Record<string, () => string[]>> = {
	mount: listMounts,
	loop: listLoops,
	cgroup: listCgroups,
	netns: listNetworkNamespaces,
	link: () => readdirSync("/sys/class/net"),
	rule: listFirewallRules,
	port: listListeningPorts,
	process: listProcesses,
	file: listFiles,
};

export function takeInventory(): Inventory {
	return new Map(Object.entries(KINDS).map(([kind, list]) => [kind, new Set(list())]));
}

/** One line a leaked thing, such as `cgroup /sys/fs/cgroup/pids/shale/sb-1`. */
export function findLeaks(before: Inventory, after: Inventory): string[] {
	return [...after].flatMap(([kind, things]) =>
		[...things]
			.filter((thing) => !before.get(kind)?.has(thing))
			.map((thing) => `${kind} ${thing}${kind === "netns" ? describeHolder(thing) : ""}`),
	);
}

/** A process that is in the network namespace, as that is what has to be found. */
function describeHolder(namespace: string): string {
	const pid = listPids().find((one) => tryRead(() => readlinkSync(`/proc/${one}/ns/net`)) === namespace);
	const argv = tryRead(() => readFileSync(`/proc/${pid}/cmdline`, "utf8"));
	return pid === undefined ? "" : ` of ${pid} ${argv.replaceAll("\0", " ").trim()}`;
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

/** By their handles, which nft(8) never gives twice in a table. None where there is no nft. */
function listFirewallRules(): string[] {
	const ruleset = tryRead(() =>
		execFileSync("nft", ["-a", "list", "ruleset"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
	);
	let table = "";
	return ruleset.split("\n").flatMap((line) => {
		if (line.startsWith("table ")) table = line;
		return line.includes("# handle ") ? [`${table.replace(/ \{.*/, "")}: ${line.trim()}`] : [];
	});
}

/** TCP ports on which processes of Shale listen, this one among them. */
function listListeningPorts(): string[] {
	const pids = [String(process.pid), ...findProcesses().map(({ pid }) => pid)];
	const sockets = new Map(pids.flatMap((pid) => listSockets(pid).map((socket) => [socket, pid])));
	return ["/proc/net/tcp", "/proc/net/tcp6"]
		.flatMap((hostPath) =>
			tryRead(() => readFileSync(hostPath, "utf8"))
				.split("\n")
				.slice(1),
		)
		.map((line) => line.trim().split(/\s+/))
		.filter(([, , , state, , , , , , inode = ""]) => state === TCP_LISTEN && sockets.has(inode))
		.map(([, local = "", , , , , , , , inode = ""]) => {
			return `${Number.parseInt(local.split(":")[1] ?? "", 16)} of process ${sockets.get(inode)}`;
		});
}

/** include/net/tcp_states.h */
const TCP_LISTEN = "0A";

/** Inode numbers of the sockets that the process has open. */
function listSockets(pid: string): string[] {
	return tryList(`/proc/${pid}/fd`).flatMap((fd) => {
		const target = tryRead(() => readlinkSync(`/proc/${pid}/fd/${fd}`));
		return /^socket:\[(\d+)\]$/.exec(target)?.slice(1) ?? [];
	});
}

function listProcesses(): string[] {
	return findProcesses().map(({ pid, argv }) => `${pid} ${argv.replaceAll("\0", " ").trim()}`);
}

/** Living processes whose command line is of Shale or of what it starts; zombies have none. */
function findProcesses(): { readonly pid: string; readonly argv: string }[] {
	return listPids()
		.map((pid) => ({ pid, argv: tryRead(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) }))
		.filter(({ pid, argv }) => Number(pid) !== process.pid && /shale|mksquashfs|mmdebstrap/.test(argv));
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

function tryList(hostPath: string): string[] {
	try {
		return readdirSync(hostPath);
	} catch {
		return [];
	}
}

/** A process may end between listing and reading. */
function tryRead(read: () => string): string {
	try {
		return read();
	} catch {
		return "";
	}
}
