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
}

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
	/** Resolves when the sandbox is dead, however that came. Never rejects. */
	readonly exited: Promise<SandboxExit>;
	stats(): Promise<BackendStats>;
	/** Ends it and removes all it left on the host. From any state; may be called twice. */
	destroy(): Promise<void>;
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
	/** Removes what sandboxes outside `known` left on the host: after a crash of the daemon. */
	removeOrphans(known: ReadonlySet<string>): Promise<void>;
	/** Gives back what is shared by its sandboxes. */
	close(): Promise<void>;
}
