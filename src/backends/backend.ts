/**
 * The contract of a backend: start the agent isolated in its own way and hand over one byte stream.
 * Exec, terminals and signals are written once, above it. test/contract holds every backend to this page.
 */
import type { Duplex } from "node:stream";

/** Limits in the kernel's units. Each is applied, or launch fails with `unsupported`. */
export interface LaunchLimits {
	readonly cpuMillis: number;
	readonly memoryBytes: number;
	/** Beyond memory; 0 forbids swapping. */
	readonly swapBytes: number;
	readonly processes: number;
	readonly diskBytes: number;
}

export interface LaunchSpec {
	/** Unique among living sandboxes; names cgroups, sockets and files. */
	readonly id: string;
	readonly hostname: string;
	/** Layer names, bottom first, checked by the stack rules. */
	readonly layers: readonly string[];
	readonly upper: "tmpfs" | "disk";
	readonly limits: LaunchLimits;
	/** A number that no other living sandbox has, from 0: picks the sandbox's own range of host uids. */
	readonly slot: number;
	/**
	 * True: the disk upper of this id exists and is used again, with the slot that it was made with, whose ids its files
	 * have; otherwise a new, empty one is made.
	 */
	readonly keepsUpper?: boolean;
}

/** What a backend needs to find a sandbox again after a restart of the daemon. JSON, stored with its record. */
export type BackendRecord = Readonly<Record<string, string | number>>;

export interface SandboxExit {
	/** Why the sandbox ended, for people: `its agent was killed by SIGKILL (out of memory)`. */
	readonly reason: string;
}

export interface BackendStats {
	readonly memoryBytes: number;
	readonly memoryPeakBytes: number;
	readonly memoryLimitBytes: number;
	readonly cpuUsageUs: number;
	readonly cpuThrottledUs: number;
	readonly processes: number;
	readonly oomKills: number;
}

export interface LaunchedSandbox {
	readonly id: string;
	/** Of the agent. */
	readonly hostPid: number;
	/** Opens the agent's byte stream, which may still be connecting. A new one replaces the one before. */
	connect(): Promise<Duplex>;
	readonly record: BackendRecord;
	/** Resolves when the sandbox is dead, however that came. Never rejects. */
	readonly exited: Promise<SandboxExit>;
	stats(): Promise<BackendStats>;
	/** Ends it and removes all it left on the host, but for its disk upper if asked. From any state; may be called twice. */
	destroy(options?: { readonly keepsUpper?: boolean }): Promise<void>;
}

/** A thing on the host that was made for a sandbox, or that looks like it. */
export interface HostResource {
	readonly kind: "process" | "cgroup" | "mount" | "loop" | "netns" | "socket" | "file";
	/** As a person finds it: a path, a device, a pid with its command. */
	readonly name: string;
	/** The sandbox it was made for; undefined when that cannot be told. */
	readonly sandboxId: string | undefined;
}

/** One thing that a backend can or cannot do on this host. */
export interface Check {
	readonly name: string;
	readonly ok: boolean;
	/** What was seen, or why it is missing. */
	readonly detail: string;
	/** What the owner of the host can do about it. */
	readonly fix?: string;
	/** False for what Shale can do without. */
	readonly required: boolean;
}

export interface Backend {
	readonly name: string;
	/** Tries the backend in a throw-away child. */
	probe(): Promise<readonly Check[]>;
	/** What launch would do, as text; makes nothing. */
	explain(spec: LaunchSpec): Promise<string>;
	/** Returns when the agent runs. On failure nothing is left behind. */
	launch(spec: LaunchSpec): Promise<LaunchedSandbox>;
	/** The sandbox of an earlier daemon, if it still lives; undefined when it is dead. Its remains are left as they are. */
	adopt(spec: LaunchSpec, record: BackendRecord): Promise<LaunchedSandbox | undefined>;
	/**
	 * Ends a sandbox for which there is no LaunchedSandbox, if it lives, and removes all it left on the host, but for its
	 * disk upper if asked: a stopped one, or what could not be adopted. Repeatable.
	 */
	remove(id: string, options?: { readonly keepsUpper?: boolean }): Promise<void>;
	/** All that there is on the host of this backend's sandboxes, also of those that nobody knows any more. */
	listResources(): Promise<readonly HostResource[]>;
	/**
	 * Removes what sandboxes outside `known` left on the host: after a crash, or by `shale gc`. `keepUppers`: of these
	 * sandboxes the disk upper stays.
	 */
	removeOrphans(
		known: ReadonlySet<string>,
		options?: { readonly keepUppers?: ReadonlySet<string> },
	): Promise<void>;
	/** Gives back what is shared by its sandboxes; those that live go on. */
	close(): Promise<void>;
}
