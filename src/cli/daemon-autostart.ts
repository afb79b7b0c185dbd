/**
 * A daemon for a verb that found none. Two verbs may do this at once: the second daemon refuses to serve a data
 * folder that is taken, and its starter then waits for the first.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { extname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ERRORS, ShaleError } from "../lib/errors.ts";
import { notice } from "./output.ts";

export interface StartDaemonOptions {
	/** `host:port` where the verb looks for it. */
	readonly listen: string;
	/** Its data folder, where its log is written. */
	readonly data: string;
	/** Whether a daemon answers there now; never throws. */
	readonly isUp: () => Promise<boolean>;
	readonly signal?: AbortSignal | undefined;
	/** For tests. Default: `shale serve --idle-exit 5m` of this installation. */
	readonly command?: readonly [string, ...string[]];
	readonly deadlineMs?: number;
}

const DEADLINE_MS = 15_000;
const POLL_MS = 25;
/** Of a log that may be long, what is read for a message; its last lines are shown. */
const LOG_TAIL_BYTES = 4096;
const LOG_TAIL_LINES = 5;
/** No link is followed: the folder may be that of the ordinary user that the daemon becomes. */
const LOG_FLAGS = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;

const START_NOTICE = "no daemon is running: started one";
const STOP_NOTICE = "it stops after 5 minutes without sandboxes or requests";

type Ending = { readonly exitCode: number | null } | { readonly error: Error };

/**
 * Starts a daemon, detached, and resolves when one answers.
 * @throws ShaleError `unavailable` with the last lines of its log when it ends or stays silent.
 */
export async function startDaemon(options: StartDaemonOptions): Promise<void> {
	const { listen, data, isUp, signal, deadlineMs = DEADLINE_MS } = options;
	const deadline = Date.now() + deadlineMs;
	const log = await openLog(data);
	try {
		const logStart = (await log.handle.stat()).size;
		const child = spawnDaemon(options.command ?? serveCommand(), { listen, data, log: log.handle });
		let ending: Ending | undefined;
		child.once("exit", (exitCode) => {
			ending = { exitCode };
		});
		child.once("error", (error) => {
			ending = { error };
		});
		while (!(await isUp())) {
			const problem =
				toProblem(ending) ??
				(Date.now() > deadline
					? `the daemon did not answer at ${listen} in ${deadlineMs / 1000} s`
					: undefined);
			if (problem) throw startError(problem, log.hostPath, await readTail(log.handle, logStart));
			await delay(POLL_MS);
			signal?.throwIfAborted();
		}
		// One that answers while ours has ended is another verb's.
		if (!ending) await notice(`${START_NOTICE} (pid ${child.pid}, log ${log.hostPath}); ${STOP_NOTICE}`);
		child.unref();
	} finally {
		await log.handle.close();
	}
}

/** Undefined while it runs, and when it has ended because another daemon has its data folder or address. */
function toProblem(ending: Ending | undefined): string | undefined {
	if (!ending) return undefined;
	if ("error" in ending) return `starting the daemon: ${String(ending.error)}`;
	return ending.exitCode === ERRORS.conflict.exitCode ? undefined : "the daemon did not start";
}

function serveCommand(): readonly [string, ...string[]] {
	const main = join(import.meta.dirname, `../main${extname(import.meta.filename)}`);
	return [process.execPath, ...process.execArgv, main, "serve", "--idle-exit", "5m"];
}

function spawnDaemon(
	[program, ...args]: readonly [string, ...string[]],
	{ listen, data, log }: { readonly listen: string; readonly data: string; readonly log: FileHandle },
): ChildProcess {
	return spawn(program, args, {
		// Its own session: neither the terminal's Ctrl-C nor its end reaches the daemon.
		detached: true,
		cwd: "/",
		env: { ...process.env, SHALE_LISTEN: listen, SHALE_DATA: data },
		stdio: ["ignore", log.fd, log.fd],
	});
}

async function openLog(data: string): Promise<{ readonly handle: FileHandle; readonly hostPath: string }> {
	const hostPath = join(data, "daemon.log");
	try {
		await mkdir(data, { recursive: true, mode: 0o700 });
		return { handle: await open(hostPath, LOG_FLAGS, 0o600), hostPath };
	} catch (error) {
		throw new ShaleError("unavailable", `no daemon is running, and none can be started: ${String(error)}`, {
			hint: "Start one as root: shale serve",
			cause: error,
		});
	}
}

async function readTail(log: FileHandle, start: number): Promise<string> {
	const { size } = await log.stat();
	const from = Math.max(start, size - LOG_TAIL_BYTES);
	const { buffer, bytesRead } = await log.read({ buffer: Buffer.alloc(LOG_TAIL_BYTES), position: from });
	const lines = buffer.subarray(0, bytesRead).toString().trimEnd().split("\n");
	return lines.slice(-LOG_TAIL_LINES).join("\n");
}

function startError(message: string, logPath: string, tail: string): ShaleError {
	return new ShaleError("unavailable", tail === "" ? message : `${message}; it said:\n${tail}`, {
		hint: `Its log is ${logPath}; shale doctor checks this machine.`,
	});
}
