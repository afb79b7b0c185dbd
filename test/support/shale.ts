/** Runs the CLI as users do: in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { packageRoot } from "../../src/lib/package-root.ts";

export const MAIN = join(packageRoot(), "src/main.ts");

export interface ShaleRun {
	readonly exitCode: number | null;
	readonly signal: NodeJS.Signals | null;
	readonly stdout: Buffer;
	readonly stderr: string;
}

export interface ShaleOptions {
	/** Of the daemon; without it the CLI finds or starts one by `env`. */
	readonly url?: string;
	readonly env?: Readonly<Record<string, string>>;
	/** What to run; default: the sources. */
	readonly program?: readonly [string, ...string[]];
	/** Shell commands that prepare the machine for it, in a mount namespace of its own. */
	readonly setup?: string;
	readonly stdin?: string | Uint8Array;
	/** Called with the process, and each time stderr or stdout has grown. */
	readonly onOutput?: (child: ChildProcess, stdout: string) => void;
}

const DEADLINE_MS = 20_000;

export async function shale(args: readonly string[], options: ShaleOptions): Promise<ShaleRun> {
	const argv = [...(options.program ?? [process.execPath, MAIN]), ...args];
	const [program, ...first] = options.setup === undefined ? argv : inMountNamespace(options.setup, argv);
	const child = spawn(program ?? "", first, {
		// A configuration of the machine that runs the tests is none of theirs.
		env: {
			PATH: process.env.PATH,
			...(options.url !== undefined && { SHALE_CONFIG: "/nonexistent", SHALE_URL: options.url }),
			...options.env,
		},
		timeout: DEADLINE_MS,
	});
	const stdout: Buffer[] = [];
	const stderr: Buffer[] = [];
	child.stdout.on("data", (chunk: Buffer) => {
		stdout.push(chunk);
		options.onOutput?.(child, Buffer.concat(stdout).toString());
	});
	child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
	child.stdin.on("error", () => undefined);
	child.stdin.end(options.stdin);
	const [exitCode, signal]: [number | null, NodeJS.Signals | null] = await once(child, "close").then(
		([code, name]) => [code, name],
	);
	return { exitCode, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
}

/** The command line that runs `argv` after these shell commands in a mount namespace of its own, under one and the same pid. */
export function inMountNamespace(setup: string, argv: readonly string[]): readonly string[] {
	return ["unshare", "--mount", "sh", "-ec", `${setup}\nexec "$@"`, "sh", ...argv];
}
