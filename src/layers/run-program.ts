/**
 * Runs one program to its end: arguments as an array, output captured up to a bound, and its whole process group
 * ended when the caller gives up. For builds, not for sandboxes.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import { MIB } from "../lib/units.ts";

export interface ProgramOptions {
	readonly signal?: AbortSignal | undefined;
}

export interface RunOptions extends ProgramOptions {
	readonly cwd?: string;
	/** The whole environment; without it the program gets ours. */
	readonly env?: NodeJS.ProcessEnv;
	/** Called with each line of standard error, for progress. */
	readonly onLine?: (line: string) => void;
	/**
	 * Runs it in a mount and a pid namespace of its own, which needs root: what it mounts and starts ends with it.
	 * Killed without that, mmdebstrap leaves the host's /dev/shm bound into its tree, where the removal of the tree
	 * would find it.
	 */
	readonly isIsolated?: boolean;
}

/** prctl(2), PR_SET_PDEATHSIG: when we are killed, our programs end too, rather than write where nobody looks. */
const TIE = "--pdeathsig KILL --".split(" ");
const ISOLATE = "unshare --mount --propagation private --pid --mount-proc --fork --kill-child --".split(" ");

/** setpriv(1) and unshare(1) exit so when they find no such program. */
const NOT_FOUND_STATUS = "127";

/** What the programs print for us to read is small (npm's JSON: some 500 KiB); more is a fault. */
const MAX_STDOUT_BYTES = 8 * MIB;

/** How much of the end of standard error an error message quotes. */
const TAIL_CHARACTERS = 2000;

/** A line longer than this is cut for `onLine`; without it a program could grow our memory. */
const MAX_LINE_CHARACTERS = 4096;

/** After the main process is gone, how long others of its group may still hold its output open. */
const DRAIN_MS = 2000;

const DEBIAN_PACKAGES: Readonly<Record<string, string>> = {
	mksquashfs: "squashfs-tools",
	unsquashfs: "squashfs-tools",
};

type Child = ChildProcessByStdio<null, Readable, Readable>;

/**
 * Runs the program and returns its standard output. Throws `unsupported` when it is not installed, `cancelled`
 * when the signal fired (the group has been killed by then), `unavailable` with the end of its standard error
 * when it failed.
 */
export async function runProgram(
	program: string,
	args: readonly string[],
	{ signal, cwd, env, onLine, isIsolated = false }: RunOptions = {},
): Promise<string> {
	throwIfCancelled(signal, program);
	// `detached` is setsid(2): the child leads its own group, so that all it starts can be ended together.
	const child = spawn("setpriv", [...TIE, ...(isIsolated ? ISOLATE : []), program, ...args], {
		stdio: ["ignore", "pipe", "pipe"],
		detached: true,
		...(cwd === undefined ? {} : { cwd }),
		...(env === undefined ? {} : { env }),
	});
	const killGroup = () => kill(child);
	signal?.addEventListener("abort", killGroup, { once: true });
	const output = capture(child, onLine);
	try {
		const status = await exitOf(child);
		throwIfCancelled(signal, program);
		if (output.overflowed())
			throw failure(program, `printed more than ${MAX_STDOUT_BYTES} bytes`, output.tail());
		if (status === NOT_FOUND_STATUS) throw notInstalled(program);
		if (status !== "0") throw failure(program, `ended with ${status}`, output.tail());
		return output.stdout();
	} finally {
		signal?.removeEventListener("abort", killGroup);
	}
}

/** Throws `cancelled` when the signal has fired. */
export function throwIfCancelled(signal: AbortSignal | undefined, what: string): void {
	if (signal?.aborted) throw new ShaleError("cancelled", `${what} was cancelled`);
}

function kill(child: Child): void {
	if (child.pid === undefined) return;
	try {
		process.kill(-child.pid, "SIGKILL");
	} catch (error) {
		if (errnoCode(error) !== "ESRCH") throw error;
	}
}

/** Resolves with the exit code or the signal's name once the process is gone and its output was read. */
function exitOf(child: Child): Promise<string> {
	return new Promise((resolve, reject) => {
		child.once("error", reject);
		child.once("exit", () => {
			// A left-over of the group that holds the pipes must not keep us waiting: it ends with its leader.
			kill(child);
			const timer = setTimeout(() => {
				child.stdout.destroy();
				child.stderr.destroy();
			}, DRAIN_MS);
			child.once("close", () => clearTimeout(timer));
		});
		child.once("close", (code, signalName) => resolve(signalName ?? String(code)));
	});
}

function capture(child: Child, onLine: ((line: string) => void) | undefined) {
	const chunks: Buffer[] = [];
	let bytes = 0;
	let tail = "";
	let line = "";
	child.stdout.on("data", (chunk: Buffer) => {
		bytes += chunk.length;
		if (bytes > MAX_STDOUT_BYTES) kill(child);
		else chunks.push(chunk);
	});
	child.stderr.setEncoding("utf8");
	child.stderr.on("data", (text: string) => {
		tail = (tail + text).slice(-TAIL_CHARACTERS);
		const lines = (line + text).split("\n");
		line = (lines.pop() ?? "").slice(0, MAX_LINE_CHARACTERS);
		for (const whole of lines) onLine?.(whole.slice(0, MAX_LINE_CHARACTERS));
	});
	return {
		stdout: () => Buffer.concat(chunks).toString("utf8"),
		tail: () => tail.trim(),
		overflowed: () => bytes > MAX_STDOUT_BYTES,
	};
}

function notInstalled(program: string): ShaleError {
	const name = DEBIAN_PACKAGES[program] ?? program;
	return new ShaleError("unsupported", `${program} is needed for this, and it is not installed`, {
		hint: `On Debian: apt-get install ${name}`,
		details: { program },
	});
}

function failure(program: string, what: string, tail: string): ShaleError {
	const said = tail === "" ? "It printed no error." : `The end of what it printed:\n${tail}`;
	return new ShaleError("unavailable", `${program} ${what}. ${said}`, { details: { program } });
}
