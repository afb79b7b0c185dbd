/** The shapes of the API, as docs/api.md and /openapi.json say them. Times in ms or ISO 8601. */

export interface Limits {
	/** CPU time per second of wall clock, in thousandths of a core. */
	readonly cpuMillis: number;
	readonly memoryMiB: number;
	/** Swap beyond memory. */
	readonly swapMiB: number;
	/** Processes and threads at once. */
	readonly processes: number;
	readonly openFiles: number;
	/** Size of the writable layer. */
	readonly diskMiB: number;
}

/** Where the writable layer lives: `tmpfs` counts as memory and is fastest, `disk` is an image file. */
export type UpperKind = "tmpfs" | "disk";

export interface CreateSandbox {
	/** Chosen by the client: 1 to 64 lower-case letters, digits and dashes. */
	readonly id?: string | undefined;
	readonly name?: string | undefined;
	/** Names of layers; the daemon's default stack when left out. */
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
	/** It ends so long after it began to run, or after the last {@link Sandbox.setTimeout}. Default: never. */
	readonly lifetimeMs?: number | undefined;
	/** It ends after so much time in which nobody used it. Default: never. */
	readonly idleTimeoutMs?: number | undefined;
	/** What its end is; `stop` needs a disk upper. Default `destroy`. */
	readonly onExpiry?: OnExpiry | undefined;
}

export type OnExpiry = "destroy" | "stop";

export type SandboxState =
	| "creating"
	| "running"
	| "stopping"
	| "stopped"
	| "starting"
	| "failed"
	| "destroying"
	| "destroyed";

export interface SandboxInfo {
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
	/** When its lifetime ends; null when it has none. */
	readonly expiresAt: string | null;
	readonly idleTimeoutMs: number | null;
	readonly onExpiry: OnExpiry;
}

export interface ListSandboxes {
	/** All of these labels, with these values. */
	readonly labels?: Readonly<Record<string, string>> | undefined;
	readonly name?: string | undefined;
	readonly state?: SandboxState | undefined;
	/** 1 to 1000. */
	readonly limit?: number | undefined;
	readonly cursor?: string | undefined;
}

export interface SandboxPage {
	readonly sandboxes: readonly SandboxInfo[];
	/** Pass it back for the next page; null at the end. */
	readonly cursor: string | null;
}

export interface TerminalSize {
	readonly columns: number;
	readonly rows: number;
}

/** What every way of starting a program takes. */
export interface ProcessOptions {
	/** Id of the process; made up when left out. The same call again, with the same id, follows the run that there is. */
	readonly id?: string | undefined;
	readonly envs?: Readonly<Record<string, string>> | undefined;
	readonly cwd?: string | undefined;
	readonly user?: string | undefined;
	/** The process group is killed after this time. */
	readonly timeoutMs?: number | undefined;
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

export interface CommandResult extends ProcessExit {
	readonly processId: string;
	/** As UTF-8, invalid bytes as U+FFFD. */
	readonly stdout: string;
	readonly stderr: string;
	/** True when an output stream went beyond `maxOutputBytes`. */
	readonly truncated: boolean;
}

export interface ProcessInfo {
	readonly id: string;
	readonly guestPid: number;
	readonly argv: readonly string[];
	readonly state: "running" | "exited";
	readonly terminal: boolean;
	/** Bytes of stdin that it was given so far; null when it was started without stdin. */
	readonly stdinEnd: number | null;
	readonly startedAt: string;
	readonly endedAt: string | null;
	/** null while it runs. */
	readonly exitCode: number | null;
	readonly signal: string | null;
	readonly timedOut: boolean;
	/** Offsets of the output that is still kept. */
	readonly stdoutStart: number;
	readonly stdoutEnd: number;
	readonly stderrStart: number;
	readonly stderrEnd: number;
}

export interface OutputChunk {
	readonly stream: "stdout" | "stderr";
	/** Of the first byte, from the start of the stream. A gap to the last chunk's end is output that was dropped. */
	readonly offset: number;
	readonly data: Uint8Array;
}

/** Output that is no longer kept. */
export interface DroppedOutput {
	readonly stream: "stdout" | "stderr";
	/** Of the first byte that is missing. */
	readonly offset: number;
	readonly bytes: number;
}

/**
 * What happens to a program, in order, whatever becomes of the connections. After `started` come `output`s, with
 * `dropped` in place of those that are missing, then one `exit`, or `end` when only what is kept was asked for.
 */
export type ProcessEvent =
	| { readonly type: "started"; readonly processId: string; readonly guestPid: number }
	| ({ readonly type: "output" } & OutputChunk)
	| ({ readonly type: "dropped" } & DroppedOutput)
	| ({ readonly type: "exit" } & ProcessExit)
	| { readonly type: "end" };

/** Where reading begins. Default: the oldest output that is kept, after a `dropped` for what is not. */
export interface ReadFrom {
	/** Offsets to go on from; ShaleApiError `gone` when they are no longer kept. */
	readonly stdoutAfter?: number | undefined;
	readonly stderrAfter?: number | undefined;
	/** Instead of offsets: the newest so many bytes of each stream. */
	readonly tail?: number | undefined;
}

export interface SandboxStats {
	readonly memoryBytes: number;
	readonly memoryPeakBytes: number;
	readonly memoryLimitBytes: number;
	readonly cpuUsageUs: number;
	readonly cpuThrottledUs: number;
	readonly processes: number;
	readonly oomKills: number;
}

/** A read-only layer. */
export interface Layer {
	readonly name: string;
	/** `sha256:` and 64 hex digits, of the image file. */
	readonly digest: string;
	readonly sizeBytes: number;
	readonly createdAt: string;
	readonly description?: string | undefined;
	/** What it was made from; `kind` says what the other fields are. */
	readonly sources: readonly { readonly kind: string; readonly [field: string]: unknown }[];
}

export interface Recipe {
	readonly name: string;
	readonly kind: string;
	readonly description: string;
}

export interface BuildProgress {
	readonly step: string;
	readonly percent?: number | undefined;
	readonly message?: string | undefined;
}

export interface DoctorCheck {
	readonly name: string;
	readonly ok: boolean;
	readonly detail: string;
	readonly fix?: string | undefined;
}

export interface DoctorReport {
	readonly checks: readonly DoctorCheck[];
	readonly ready: boolean;
}

export interface DaemonVersion {
	readonly version: string;
	readonly node: string;
	readonly kernel: string;
}
