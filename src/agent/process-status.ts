/** What the agent tells about processes: their exits, and the listing. */

import { signalName } from "../linux/signals.ts";
import { toViolation } from "./agent-error.ts";
import type { PayloadReader } from "./frames.ts";

export interface ProcessExit {
	/** As a shell has it: 128 + the signal's number when a signal ended it. */
	readonly exitCode: number;
	/** For example "SIGKILL". */
	readonly signal?: string;
	/** Killed because its time was over. */
	readonly timedOut: boolean;
	readonly userTimeMs: number;
	readonly systemTimeMs: number;
	readonly maxRssKiB: number;
	/** Offsets after the last byte of each stream. */
	readonly stdoutEnd: number;
	readonly stderrEnd: number;
}

export interface ProcessStatus {
	readonly id: string;
	/** The first 4 KiB of the command line, whole words. */
	readonly argv: readonly string[];
	readonly guestPid: number;
	readonly state: "running" | "exited";
	/** Whether it has a terminal. */
	readonly pty: boolean;
	/** `none` when it was started without. */
	readonly stdin: "none" | "open" | "closed";
	/** How many read its output now. */
	readonly readers: number;
	/** What it was started with. */
	readonly tag: string;
	readonly timedOut: boolean;
	/** By the sandbox's clock, Unix time. */
	readonly startedMs: number;
	/** 0 while it runs. */
	readonly endedMs: number;
	/** Offsets of the bytes that the agent still has: from start, before end. */
	readonly stdoutStart: number;
	readonly stdoutEnd: number;
	readonly stderrStart: number;
	readonly stderrEnd: number;
	/** How many bytes of stdin the agent has taken. */
	readonly stdinEnd: number;
	/** Undefined while it runs. */
	readonly exit?: Pick<ProcessExit, "exitCode" | "signal">;
}

/** wait(2)'s status of a process that has ended; a violation for one that has not. */
export function parseWaitStatus(status: number): { exitCode: number; signal?: string } {
	const signal = status & 0x7f;
	if (status > 0xffff || signal === 0x7f) throw toViolation("a wait status that is not one of an exit");
	if (signal === 0) return { exitCode: status >> 8 };
	return { exitCode: 128 + signal, signal: signalName(signal) };
}

export function parseExit(payload: PayloadReader): ProcessExit {
	const how = parseWaitStatus(payload.takeU32());
	const exit = {
		...how,
		timedOut: payload.takeBoolean(),
		userTimeMs: payload.takeU64() / 1000,
		systemTimeMs: payload.takeU64() / 1000,
		maxRssKiB: payload.takeU64(),
		stdoutEnd: payload.takeU64(),
		stderrEnd: payload.takeU64(),
	};
	payload.finish();
	return exit;
}

const MAX_ID_BYTES = 128;
const MAX_TAG_BYTES = 64;
/** ECMAScript: a Date is within so many ms of 1970. */
const MAX_DATE_MS = 8.64e15;
const STDIN_STATES = ["none", "open", "closed"] as const;
const MAX_WORD_BYTES = 4096;
const MAX_WORDS = 1024;

export function parseProcessStatus(payload: PayloadReader): ProcessStatus {
	const guestPid = payload.takeU32();
	const hasExited = payload.takeBoolean();
	const waitStatus = payload.takeU32();
	const timedOut = payload.takeBoolean();
	const pty = payload.takeBoolean();
	const stdin = STDIN_STATES[payload.takeU8()];
	const readers = payload.takeU16();
	const startedMs = payload.takeU64();
	const endedMs = payload.takeU64();
	const stdoutStart = payload.takeU64();
	const stdoutEnd = payload.takeU64();
	const stderrStart = payload.takeU64();
	const stderrEnd = payload.takeU64();
	const stdinEnd = payload.takeU64();
	const id = payload.takeText(MAX_ID_BYTES);
	const tag = payload.takeText(MAX_TAG_BYTES);
	const argv = takeWords(payload);
	payload.finish();
	if (startedMs > MAX_DATE_MS || endedMs > MAX_DATE_MS) throw toViolation("a time that no Date can be");
	if (!stdin) throw toViolation("a stdin that is neither there nor not there");
	if (stdoutStart > stdoutEnd || stderrStart > stderrEnd)
		throw toViolation("a stream that ends before it starts");
	return {
		id,
		argv,
		guestPid,
		state: hasExited ? "exited" : "running",
		pty,
		stdin,
		readers,
		tag,
		timedOut,
		startedMs,
		endedMs,
		stdoutStart,
		stdoutEnd,
		stderrStart,
		stderrEnd,
		stdinEnd,
		...(hasExited ? { exit: parseWaitStatus(waitStatus) } : {}),
	};
}

function takeWords(payload: PayloadReader): string[] {
	const count = payload.takeU32();
	if (count > MAX_WORDS) throw toViolation("too many words");
	return Array.from({ length: count }, () => payload.takeText(MAX_WORD_BYTES));
}
