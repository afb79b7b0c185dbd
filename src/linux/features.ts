/**
 * Cheap facts about the kernel, for the doctor: what is missing and what its owner can do about it. Nothing is
 * tried here; a throw-away sandbox does that later.
 */
import { lstat, readdir, readFile } from "node:fs/promises";
import { arch } from "node:os";
import { join } from "node:path";
import { errnoCode } from "../lib/errors.ts";
import { type CgroupLayout, detectCgroups } from "./cgroup-layout.ts";

export interface KernelFeature {
	readonly name: string;
	readonly ok: boolean;
	/** What was seen, or what is missing. */
	readonly detail: string;
	readonly fix?: string;
	/** False for what Shale can do without. */
	readonly required: boolean;
}

export interface DetectFeaturesOptions {
	/** Of a daemon, whose jailer may more than the daemon itself; default: what this process may use. */
	readonly cgroups?: CgroupLayout | undefined;
	/** For tests: where /proc and /sys are. */
	readonly rootPath?: string;
}

/** Own namespaces of a sandbox, as /proc/self/ns names them. */
const NAMESPACES = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
/** Idmapped mounts of squashfs and overlay; with it come clone3, cgroup.kill and the new mount calls. */
const MIN_RELEASE = [6, 2] as const;

export async function detectKernelFeatures({
	rootPath = "/",
	cgroups,
}: DetectFeaturesOptions = {}): Promise<KernelFeature[]> {
	const host = new Host(rootPath, cgroups);
	const checks = [
		checkRelease,
		checkNamespaces,
		checkUserNamespaces,
		checkFilesystems,
		checkLoopDevices,
		checkSeccomp,
		checkCgroups,
		checkPressure,
	];
	return Promise.all(checks.map((check) => check(host)));
}

/** Reads below a root; what is not there is undefined. */
class Host {
	readonly rootPath: string;
	readonly cgroups: CgroupLayout | undefined;

	constructor(rootPath: string, cgroups: CgroupLayout | undefined) {
		this.rootPath = rootPath;
		this.cgroups = cgroups;
	}

	async read(path: string): Promise<string | undefined> {
		return this.#find(() => readFile(join(this.rootPath, path), "utf8"));
	}

	async has(path: string): Promise<boolean> {
		return (await this.#find(() => lstat(join(this.rootPath, path)))) !== undefined;
	}

	async list(path: string): Promise<string[]> {
		return (await this.#find(() => readdir(join(this.rootPath, path)))) ?? [];
	}

	async #find<T>(read: () => Promise<T>): Promise<T | undefined> {
		try {
			return await read();
		} catch (error) {
			if (errnoCode(error) === undefined) throw error;
			return undefined;
		}
	}
}

async function checkRelease(host: Host): Promise<KernelFeature> {
	const release = (await host.read("proc/sys/kernel/osrelease"))?.trim() ?? "unknown";
	const [major = 0, minor = 0] = release.split(".").map((part) => Number.parseInt(part, 10));
	const ok = major > MIN_RELEASE[0] || (major === MIN_RELEASE[0] && minor >= MIN_RELEASE[1]);
	return {
		name: "kernel",
		ok: ok && arch() === "x64",
		detail: `Linux ${release} on ${arch()}`,
		required: arch() !== "x64",
		...(!ok && { fix: `Linux ${MIN_RELEASE.join(".")} or later can map the owners of layers.` }),
	};
}

async function checkNamespaces(host: Host): Promise<KernelFeature> {
	// One by one: who has given up root's rights may not list its own.
	const present = await Promise.all(NAMESPACES.map((name) => host.has(`proc/self/ns/${name}`)));
	const missing = NAMESPACES.filter((_, index) => !present[index]);
	return {
		name: "namespaces",
		ok: missing.length === 0,
		detail: missing.length === 0 ? NAMESPACES.join(" ") : `missing: ${missing.join(" ")}`,
		required: true,
		...(missing.length > 0 && { fix: "Use a kernel with all CONFIG_*_NS options." }),
	};
}

async function checkUserNamespaces(host: Host): Promise<KernelFeature> {
	const most = Number(await host.read("proc/sys/user/max_user_namespaces"));
	const restricted =
		(await host.read("proc/sys/kernel/apparmor_restrict_unprivileged_userns"))?.trim() === "1";
	const feature = { name: "user namespaces", required: false };
	if (!(most > 0)) {
		const fix = "sysctl -w user.max_user_namespaces=15000 (and in /etc/sysctl.d to keep it)";
		return { ...feature, ok: false, detail: "user.max_user_namespaces is 0 or absent", fix };
	}
	if (restricted && host.cgroups === undefined && process.geteuid?.() !== 0) {
		const fix = "Run as root, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
		return { ...feature, ok: false, detail: "AppArmor keeps them from ordinary users", fix };
	}
	return { ...feature, ok: true, detail: `up to ${most}` };
}

async function checkFilesystems(host: Host): Promise<KernelFeature> {
	const text = (await host.read("proc/filesystems")) ?? "";
	const present = new Set(text.split("\n").map((line) => line.split("\t").at(-1)));
	const missing = ["overlay", "squashfs", "ext4", "tmpfs", "mqueue"].filter((name) => !present.has(name));
	const others = ["erofs"].filter((name) => present.has(name));
	return {
		name: "filesystems",
		ok: missing.length === 0,
		detail:
			missing.length === 0
				? ["overlay squashfs ext4 tmpfs mqueue", ...others].join(" ")
				: `not loaded: ${missing.join(" ")}`,
		// Modules are loaded at the first mount, so this is a hint, not a verdict.
		required: false,
		...(missing.length > 0 && { fix: missing.map((name) => `modprobe ${name}`).join("; ") }),
	};
}

async function checkLoopDevices(host: Host): Promise<KernelFeature> {
	const ok = (await host.list("dev")).includes("loop-control");
	return {
		name: "loop devices",
		ok,
		detail: ok ? "/dev/loop-control" : "/dev/loop-control is missing",
		required: true,
		...(!ok && {
			fix: "modprobe loop; in a container, pass /dev/loop-control and the loop devices through.",
		}),
	};
}

async function checkSeccomp(host: Host): Promise<KernelFeature> {
	const actions = (await host.read("proc/sys/kernel/seccomp/actions_avail"))?.trim().split(" ") ?? [];
	const ok = actions.includes("errno") && actions.includes("kill_process");
	return {
		name: "seccomp",
		ok,
		detail: ok ? `filters with ${actions.join(" ")}` : "no seccomp filters",
		required: true,
		...(!ok && { fix: "Use a kernel with CONFIG_SECCOMP_FILTER." }),
	};
}

async function checkCgroups(host: Host): Promise<KernelFeature> {
	const layout = host.cgroups ?? (await detectCgroups({ procPath: join(host.rootPath, "proc") }));
	const found = new Set([...Object.keys(layout.v1), ...(layout.unified?.controllers ?? [])]);
	const missing = ["cpu", "memory", "pids"].filter((name) => !found.has(name));
	const ok = missing.length === 0;
	return {
		name: "cgroups",
		ok,
		detail: ok
			? `${layout.mode}, with cpu memory pids`
			: `${layout.mode}; no limits for: ${missing.join(" ")}`,
		// Sandboxes always have limits, and a limit that cannot be applied is refused.
		required: true,
		...(!ok && {
			fix: "Run as root with a writable /sys/fs/cgroup, or as a service with Delegate=yes; memory may need cgroup_enable=memory.",
		}),
	};
}

async function checkPressure(host: Host): Promise<KernelFeature> {
	const ok = (await host.list("proc/pressure")).includes("memory");
	return {
		name: "pressure",
		ok,
		detail: ok ? "/proc/pressure" : "the kernel does not tell how long programs wait",
		// Creating is then refused by what is free alone.
		required: false,
		...(!ok && { fix: "Boot with psi=1, on a kernel with CONFIG_PSI." }),
	};
}
