/** What the core takes and gives: the shapes behind every front end. Times in ms or ISO 8601, sizes as named. */
import type { BackendStats } from "../backends/backend.ts";
import type { SandboxFiles } from "./file-types.ts";

export type SandboxStats = BackendStats;

export interface Limits {
	/** CPU time per second of wall clock, in thousandths of a core. */
	readonly cpuMillis: number;
	readonly memoryMiB: number;
	/** Swap beyond memory. */
	readonly swapMiB: number;
	/** Processes and threads at once (pids.max). */
	readonly processes: number;
	/** RLIMIT_NOFILE of every process. */
	readonly openFiles: number;
	/** Size of the writable layer. */
	readonly diskMiB: number;
}

/** Where the writable layer lives: `tmpfs` counts as memory and is fastest, `disk` is an ext4 image file. */
export type UpperKind = "tmpfs" | "disk";

export interface CreateSandbox {
	readonly id?: string | undefined;
	readonly name?: string | undefined;
	readonly layers?: readonly string[] | undefined;
	readonly backend?: string | undefined;
	readonly env?: Readonly<Record<string, string>> | undefined;
	/** Default user of its processes: `uid[:gid]` or a name of the sandbox's /etc/passwd. */
	readonly user?: string | undefined;
	readonly workdir?: string | undefined;
	readonly labels?: Readonly<Record<string, string>> | undefined;
	readonly hostname?: string | undefined;
	readonly limits?: Partial<Limits> | undefined;
	readonly upper?: UpperKind | undefined;
	readonly network?: "none" | undefined;
	/** It ends this long after its creation, or after the last {@link Sandboxes.extend}. Default: never. */
	readonly lifetimeMs?: number | undefined;
	/** It ends after so much time in which nobody used it. Default: never. */
	readonly idleTimeoutMs?: number | undefined;
	/** What its end by lifetime or idleness is. `stop` needs a disk upper. Default `destroy`. */
	readonly onExpiry?: OnExpiry | undefined;
}

export type OnExpiry = "destroy" | "stop";

/**
 * creating → running → destroying → destroyed; running ⇄ stopped by way of `stopping` and `starting`;
 * `failed` when it ended by itself. Destroy works from every state.
 */
export type SandboxState =
	| "creating"
	| "running"
	| "stopping"
	| "stopped"
	| "starting"
	| "failed"
	| "destroying"
	| "destroyed";

export interface Sandbox {
	readonly id: string;
	readonly name: string | null;
	readonly state: SandboxState;
	/** Why it is `failed` or `stopped`; otherwise null. */
	readonly reason: string | null;
	readonly backend: string;
	readonly layers: readonly string[];
	readonly env: Readonly<Record<string, string>>;
	readonly user: string;
	readonly workdir: string;
	readonly hostname: string;
	readonly labels: Readonly<Record<string, string>>;
	readonly limits: Limits;
	readonly upper: UpperKind;
	readonly network: "none";
	readonly createdAt: string;
	/** When its lifetime ends, by the clock of now; null when it has none. */
	readonly expiresAt: string | null;
	readonly idleTimeoutMs: number | null;
	readonly onExpiry: OnExpiry;
}

export interface ListSandboxes {
	/** All of these labels, with these values. */
	readonly labels?: Readonly<Record<string, string>> | undefined;
	readonly name?: string | undefined;
	readonly state?: SandboxState | undefined;
	/** 1 to 1000; default 100. */
	readonly limit?: number | undefined;
	readonly cursor?: string | undefined;
}

export interface SandboxPage {
	readonly sandboxes: readonly Sandbox[];
	/** Pass it back for the next page; null at the end. */
	readonly cursor: string | null;
}

export interface TerminalSize {
	readonly columns: number;
	readonly rows: number;
}

export interface StartProcess {
	/**
	 * Chosen by the client, or made by us. A client that chose it may send the same start again: it then follows the run
	 * that there is. Another start under a taken id is a `conflict`.
	 */
	readonly id?: string | undefined;
	readonly argv: readonly string[];
	readonly env?: Readonly<Record<string, string>> | undefined;
	readonly workdir?: string | undefined;
	readonly user?: string | undefined;
	/** SIGKILL to the process group after this time. */
	readonly timeoutMs?: number | undefined;
	readonly terminal?: TerminalSize | undefined;
	/** Keep stdin open for {@link RunningProcess.writeStdin}; otherwise it is /dev/null. */
	readonly stdin?: boolean | undefined;
}

export interface ProcessExit {
	/** 0–255; 128+N after signal N; 127 not found, 126 not executable. */
	readonly exitCode: number;
	/** `SIGKILL`, …; null when it exited by itself. */
	readonly signal: string | null;
	readonly timedOut: boolean;
	readonly userTimeMs: number;
	readonly systemTimeMs: number;
	readonly maxRssKiB: number;
}

export interface ProcessInfo {
	readonly id: string;
	readonly guestPid: number;
	readonly argv: readonly string[];
	readonly state: "running" | "exited";
	readonly terminal: boolean;
	/** Bytes of stdin that it was given so far, from all writers; null when it was started without stdin. */
	readonly stdinEnd: number | null;
	readonly startedAt: string;
	readonly endedAt: string | null;
	/** null while it runs. */
	readonly exitCode: number | null;
	readonly signal: string | null;
	readonly timedOut: boolean;
	readonly stdoutStart: number;
	readonly stdoutEnd: number;
	readonly stderrStart: number;
	readonly stderrEnd: number;
}

export interface OutputChunk {
	readonly stream: "stdout" | "stderr";
	/** Of the first byte, from the start of the stream. A gap to the last chunk's end is what was dropped. */
	readonly offset: number;
	readonly data: Buffer;
}

/** A process that a client is attached to. */
export interface RunningProcess {
	readonly id: string;
	readonly guestPid: number;
	/** Of the first bytes that {@link output} gives, when they are still kept. */
	readonly from: { readonly stdoutOffset: number; readonly stderrOffset: number };
	/** All output from the attached offsets; ends when the process's output has ended or on detach. */
	output(): AsyncIterable<OutputChunk>;
	readonly exited: Promise<ProcessExit>;
	/** Of any size. Resolves when the process can take more; rejects with `conflict` when stdin is closed. */
	writeStdin(chunk: Uint8Array): Promise<void>;
	closeStdin(): void;
	/** The process lives on. */
	detach(): void;
}

export interface ExecSandbox extends Omit<StartProcess, "terminal" | "stdin"> {
	readonly stdin?: Uint8Array | undefined;
	/** Output kept per stream; what is beyond is read and dropped. Default 1 MiB, at most 16 MiB. */
	readonly maxOutputBytes?: number | undefined;
}

export interface ExecResult extends ProcessExit {
	readonly processId: string;
	readonly stdout: Buffer;
	readonly stderr: Buffer;
	/** True when output went beyond `maxOutputBytes`. */
	readonly truncated: boolean;
	readonly durationMs: number;
}

export interface AttachProcess {
	/** Of the first bytes that are wanted; `gone` when they are no longer kept. Default: the oldest that are kept. */
	readonly stdoutOffset?: number | undefined;
	readonly stderrOffset?: number | undefined;
	/** Instead of offsets: the newest so many bytes of each stream. */
	readonly tailBytes?: number | undefined;
	/**
	 * True: the process waits for this reader, as a program waits for a pipe. False (default): a reader that falls
	 * behind by more than the ring loses output, which shows as a gap in the offsets.
	 */
	readonly hold?: boolean | undefined;
}

/** The core's operations. Every method throws ShaleError; unknown ids are `not_found`. */
export interface Sandboxes {
	/**
	 * Returns when the sandbox can exec. A client that chose the id may send the same request again: it gets the sandbox
	 * that there is. `conflict` when the id or name belongs to another one; `resource_exhausted` when the host is too
	 * full or too busy.
	 */
	create(request: CreateSandbox): Promise<Sandbox>;
	get(id: string): Sandbox;
	list(query: ListSandboxes): SandboxPage;
	/** From any state; repeatable. Returns when nothing of it is left on the host. */
	destroy(id: string): Promise<void>;
	/** Ends all its processes and keeps its disk upper; `conflict` with a tmpfs upper, which would be lost. Repeatable. */
	stop(id: string): Promise<Sandbox>;
	/** Starts a stopped sandbox on its kept upper; its lifetime begins again. Repeatable. */
	startAgain(id: string): Promise<Sandbox>;
	/** Its lifetime ends `lifetimeMs` from now; null: never. */
	extend(id: string, lifetimeMs: number | null): Promise<Sandbox>;
	readonly files: SandboxFiles;
	/** Runs to the end and captures the output. When `signal` aborts, the process group is killed. */
	exec(id: string, request: ExecSandbox, options?: { readonly signal?: AbortSignal }): Promise<ExecResult>;
	/** Starts with the caller attached to all output. */
	start(id: string, request: StartProcess): Promise<RunningProcess>;
	/** Starts without anybody attached; the last 1 MiB of each output stream is kept. */
	startDetached(id: string, request: StartProcess): Promise<ProcessInfo>;
	/** One of any number of readers at once. */
	attach(id: string, processId: string, options: AttachProcess): Promise<RunningProcess>;
	/** Whoever writes; the pieces of several writers are not torn. `conflict` when it has no stdin or it is closed. */
	writeStdin(id: string, processId: string, chunk: Uint8Array): Promise<void>;
	closeStdin(id: string, processId: string): Promise<void>;
	listProcesses(id: string): Promise<readonly ProcessInfo[]>;
	getProcess(id: string, processId: string): Promise<ProcessInfo>;
	/** `signal` as a name (`SIGTERM`, `TERM`); to its whole group when asked. */
	signalProcess(
		id: string,
		processId: string,
		target: { readonly signal: string; readonly group: boolean },
	): Promise<void>;
	resizeTerminal(id: string, processId: string, size: TerminalSize): Promise<void>;
	/** Drops a finished process and its kept output; `conflict` while it runs. */
	removeProcess(id: string, processId: string): Promise<void>;
	stats(id: string): Promise<SandboxStats>;
	/** The plan of a sandbox as text, one operation a line; nothing is made. */
	explain(request: CreateSandbox): Promise<string>;
	/** The plan that a living sandbox was made from. */
	explainExisting(id: string): Promise<string>;
}
