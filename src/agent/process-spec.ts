/** What to start in a sandbox, and its START frame. Facts about processes are in process-status.ts. */

import { ShaleError } from "../lib/errors.ts";
import { FrameWriter, REQUEST } from "./frames.ts";

/** Both at least 1. */
export interface TerminalSize {
	readonly columns: number;
	readonly rows: number;
}

export interface ResourceLimit {
	/** RLIMIT_* as a number, getrlimit(2). */
	readonly resource: number;
	/** `Infinity` for no limit. */
	readonly soft: number;
	readonly hard: number;
}

export interface StartProcess {
	/** Unique among the processes that the agent keeps; 1 to 128 bytes. */
	readonly id: string;
	/** The program is looked for in the PATH of `env` when it has no slash. With `env`, at most 64 KiB. */
	readonly argv: readonly string[];
	readonly env?: Readonly<Record<string, string>>;
	/** In the sandbox; default: /. */
	readonly cwd?: string;
	/** "USER" or "USER:GROUP", names of the sandbox or numbers. Default: root. */
	readonly user?: string;
	/** A terminal for stdin, stdout and stderr, of this size; all its output is of the stream "stdout". */
	readonly pty?: TerminalSize;
	/** Whether stdin can be written; otherwise it is empty. */
	readonly stdin?: boolean;
	/** After which the process's group is killed. Default: never. */
	readonly timeoutMs?: number;
	/** Its group is killed when it has had no reader for so long. Default: it needs none. */
	readonly orphanMs?: number;
	/** Told again in its {@link ProcessStatus}; at most 64 bytes, of no meaning to the agent. */
	readonly tag?: string;
	/** How much of each stream the agent keeps: 4 KiB to 16 MiB, default 1 MiB. */
	readonly ringBytes?: number;
	/** How much output may be on its way or unread in this process; default 256 KiB. */
	readonly windowBytes?: number;
	readonly limits?: readonly ResourceLimit[];
	/** Default true. False: its output goes into the rings only, `output()` is empty and `exited` rejects. */
	readonly attach?: boolean;
	/** Keep nothing of it once its readers were sent its exit. Default: kept until `forget`. */
	readonly isTransient?: boolean;
}

export const DEFAULT_WINDOW_BYTES = 256 * 1024;

const FLAG = { pty: 1, stdin: 2, attach: 4, transient: 8 } as const;
const U16_MAX = 0xffff;
const U32_MAX = 0xffff_ffff;
const MAX_ID_BYTES = 128;
/** What the agent takes of the rest of a START; more would be a violation of the protocol. */
const MAX = {
	tagBytes: 64,
	cwdBytes: 4095,
	userBytes: 255,
	words: 4096,
	variables: 4096,
	limits: 32,
} as const;
const NO_LIMIT = 0xffff_ffff_ffff_ffffn;

/** `value` if it is an integer from `min` to `max`; invalid_argument otherwise. */
export function checkInteger(what: string, value: number, range: { min: number; max: number }): number {
	if (Number.isInteger(value) && value >= range.min && value <= range.max) return value;
	throw new ShaleError(
		"invalid_argument",
		`${what} is ${value}, not an integer from ${range.min} to ${range.max}`,
	);
}

export function checkProcessId(id: string): string {
	const length = Buffer.byteLength(id);
	if (length >= 1 && length <= MAX_ID_BYTES) return id;
	throw new ShaleError(
		"invalid_argument",
		`a process id has 1 to ${MAX_ID_BYTES} bytes, this one has ${length}`,
	);
}

function checkAtMost(what: string, count: number, max: number): void {
	if (count > max)
		throw new ShaleError("invalid_argument", `${what}: at most ${max}, and these are ${count}`);
}

function checkSizes(spec: StartProcess): void {
	checkAtMost("bytes of the tag", Buffer.byteLength(spec.tag ?? ""), MAX.tagBytes);
	checkAtMost("bytes of the working directory", Buffer.byteLength(spec.cwd ?? ""), MAX.cwdBytes);
	checkAtMost("bytes of the user", Buffer.byteLength(spec.user ?? ""), MAX.userBytes);
	checkAtMost("words of argv", spec.argv.length, MAX.words);
	checkAtMost("variables of env", Object.keys(spec.env ?? {}).length, MAX.variables);
	checkAtMost("resource limits", spec.limits?.length ?? 0, MAX.limits);
}

export function checkTerminalSize(size: TerminalSize): TerminalSize {
	checkInteger("columns", size.columns, { min: 1, max: U16_MAX });
	checkInteger("rows", size.rows, { min: 1, max: U16_MAX });
	return size;
}

export function checkWindow(windowBytes = DEFAULT_WINDOW_BYTES): number {
	return checkInteger("windowBytes", windowBytes, { min: 1, max: 2 ** 30 });
}

function limitWord(value: number): number | bigint {
	if (value === Number.POSITIVE_INFINITY) return NO_LIMIT;
	return checkInteger("a resource limit", value, { min: 0, max: Number.MAX_SAFE_INTEGER });
}

function writeEnvironment(frame: FrameWriter, env: Readonly<Record<string, string>>): void {
	const names = Object.keys(env);
	frame.u32(names.length);
	for (const name of names) {
		if (name === "" || name.includes("=")) {
			throw new ShaleError("invalid_argument", `"${name}" cannot be the name of an environment variable`);
		}
		frame.text(`the environment variable ${name}`, `${name}=${env[name]}`);
	}
}

/** Throws invalid_argument for what the agent would not understand, too_large when it does not fit into a frame. */
export function encodeStart(channel: number, spec: StartProcess): Buffer {
	const { argv, pty, limits = [] } = spec;
	if (!argv[0]) throw new ShaleError("invalid_argument", "the program to start is empty");
	if (pty) checkTerminalSize(pty);
	checkSizes(spec);
	const flags =
		(pty ? FLAG.pty : 0) |
		(spec.stdin ? FLAG.stdin : 0) |
		(spec.attach === false ? 0 : FLAG.attach) |
		(spec.isTransient ? FLAG.transient : 0);

	const frame = new FrameWriter(REQUEST.start, channel)
		.u32(flags)
		.u32(checkInteger("timeoutMs", spec.timeoutMs ?? 0, { min: 0, max: U32_MAX }))
		.u32(checkInteger("orphanMs", spec.orphanMs ?? 0, { min: 0, max: U32_MAX }))
		.u32(checkInteger("ringBytes", spec.ringBytes ?? 0, { min: 0, max: U32_MAX }))
		.u32(checkWindow(spec.windowBytes))
		.u16(pty?.columns ?? 0)
		.u16(pty?.rows ?? 0)
		.text("the process id", checkProcessId(spec.id))
		.text("the tag", spec.tag ?? "")
		.text("the working directory", spec.cwd ?? "")
		.text("the user", spec.user ?? "")
		.u32(argv.length);
	for (const word of argv) frame.text("the command line", word);
	writeEnvironment(frame, spec.env ?? {});
	frame.u32(limits.length);
	for (const limit of limits) {
		frame
			.u32(checkInteger("a resource", limit.resource, { min: 0, max: U32_MAX }))
			.u64(limitWord(limit.soft))
			.u64(limitWord(limit.hard));
	}
	return frame.finish();
}
