/** Options that several verbs share, and what their values mean. */
import { Command, InvalidArgumentError, Option } from "commander";
import type { CreateSandbox, Limits, OnExpiry, ProcessOptions, UpperKind } from "../../sdk/src/index.ts";
import { ShaleError } from "../lib/errors.ts";
import { MIB, parseBytes, parseDurationMs } from "../lib/units.ts";
import { toShellWords } from "./table.ts";

/** A verb's command: errors are thrown, and said by report.ts. */
export function verbCommand(name: string, description: string): Command {
	return new Command(`shale ${name}`)
		.description(description)
		.exitOverride()
		.allowExcessArguments(false)
		.configureOutput({ writeErr: () => undefined })
		.helpOption("-h, --help", "show this help");
}

export interface SandboxFlags extends EnvironmentFlags {
	readonly id?: string;
	readonly name?: string;
	readonly layer?: string[];
	readonly backend?: string;
	readonly hostname?: string;
	readonly label?: Record<string, string>;
	readonly cpus?: number;
	readonly memory?: number;
	readonly swap?: number;
	readonly processes?: number;
	readonly openFiles?: number;
	readonly disk?: number;
	readonly upper?: UpperKind;
	readonly net?: "none";
	readonly lifetime?: number;
	readonly idle?: number;
	readonly onExpiry?: OnExpiry;
}

export interface EnvironmentFlags {
	readonly env?: Record<string, string>;
	readonly workdir?: string;
	readonly user?: string;
}

export interface ProgramFlags {
	readonly interactive?: true;
	readonly tty?: true;
	readonly detach?: true;
	readonly timeout?: number;
}

export interface OutputFlags {
	readonly output: "table" | "json";
}

export function addEnvironmentOptions(command: Command): Command {
	return command
		.option("-e, --env <K=V>", "environment variable; K alone takes the value from here", collectEnv)
		.option("-w, --workdir <dir>", "working folder in the sandbox")
		.option("-u, --user <user>", "user in the sandbox: uid[:gid] or a name");
}

export function addProgramOptions(command: Command): Command {
	return command
		.option("-i, --interactive", "forward stdin")
		.option("-t, --tty", "run it on a terminal")
		.option("-d, --detach", "leave it running in the background")
		.option("--timeout <time>", "kill it after this time: 500ms, 30s, 5m", parseTime);
}

export function addSandboxOptions(command: Command): Command {
	return addEnvironmentOptions(command)
		.option("--id <id>", "id of the sandbox; made up when left out")
		.option("--name <name>", "name of the sandbox")
		.option("--layer <name>", "layer of its stack, repeatable; the default stack when left out", collectWord)
		.option("--cpus <n>", "CPUs, as in 1.5", parseCpus)
		.option("--memory <size>", "memory, as in 512m", parseMiB)
		.option("--swap <size>", "swap beyond memory", parseMiB)
		.option("--processes <n>", "processes and threads at once", parseCount)
		.option("--open-files <n>", "open files of a process", parseCount)
		.option("--disk <size>", "size of the writable layer, as in 1g", parseMiB)
		.addOption(new Option("--upper <kind>", "where the writable layer lives").choices(["tmpfs", "disk"]))
		.option("--label <K=V>", "label, repeatable", collectLabel)
		.option("--hostname <name>", "host name in the sandbox")
		.option("--backend <name>", "how it is isolated")
		.addOption(new Option("--net <policy>", "network").choices(["none"]))
		.option("--lifetime <time>", "it ends after this time: 30m, 2h", parseTime)
		.option("--idle <time>", "it ends after this time in which nobody used it", parseTime)
		.addOption(new Option("--on-expiry <action>", "what its end is").choices(["destroy", "stop"]));
}

export function addOutputOption(command: Command): Command {
	return command.addOption(
		new Option("-o, --output <format>", "output format").choices(["table", "json"]).default("table"),
	);
}

export function toCreateSandbox(flags: SandboxFlags): CreateSandbox {
	return {
		id: flags.id,
		name: flags.name,
		layers: flags.layer,
		backend: flags.backend,
		env: flags.env,
		user: flags.user,
		workdir: flags.workdir,
		labels: flags.label,
		hostname: flags.hostname,
		limits: toLimits(flags),
		upper: flags.upper,
		network: flags.net,
		lifetimeMs: flags.lifetime,
		idleTimeoutMs: flags.idle,
		onExpiry: flags.onExpiry,
	};
}

export function toProcessOptions(flags: EnvironmentFlags & ProgramFlags): ProcessOptions {
	return { envs: flags.env, cwd: flags.workdir, user: flags.user, timeoutMs: flags.timeout };
}

function toLimits(flags: SandboxFlags): Partial<Limits> | undefined {
	const limits = {
		cpuMillis: flags.cpus,
		memoryMiB: flags.memory,
		swapMiB: flags.swap,
		processes: flags.processes,
		openFiles: flags.openFiles,
		diskMiB: flags.disk,
	};
	const asked = Object.entries(limits).filter(([, value]) => value !== undefined);
	return asked.length > 0 ? Object.fromEntries(asked) : undefined;
}

/**
 * The program after `--`.
 * @throws ShaleError `invalid_argument` that shows the command line as it should be.
 */
export function requireProgram(
	program: readonly string[] | undefined,
	words: readonly string[],
	{ prefix }: { readonly prefix: string },
): readonly string[] {
	if (program && words.length > 0) {
		throw new ShaleError("invalid_argument", `unexpected ${toShellWords(words)} before --`, {
			hint: "Options and names come before --, the program and its arguments after it.",
		});
	}
	if (!program && words.length > 0) {
		throw new ShaleError("invalid_argument", "the program to run comes after --", {
			hint: `Write: ${prefix} -- ${toShellWords(words)}`,
		});
	}
	if (!program || program.length === 0) {
		throw new ShaleError("invalid_argument", "there is no program to run", {
			hint: `For example: ${prefix} -- echo hello`,
		});
	}
	return program;
}

/** `K=V` into a record; the value may hold further `=`. */
export function collectLabel(word: string, labels: Record<string, string> = {}): Record<string, string> {
	const split = word.indexOf("=");
	if (split < 1) throw new InvalidArgumentError("It has the form K=V.");
	return { ...labels, [word.slice(0, split)]: word.slice(split + 1) };
}

function collectEnv(word: string, env: Record<string, string> = {}): Record<string, string> {
	if (word.includes("=")) return collectLabel(word, env);
	const value = process.env[word];
	if (value === undefined) throw new InvalidArgumentError(`There is no variable ${word} here.`);
	return { ...env, [word]: value };
}

function collectWord(word: string, words: string[] = []): string[] {
	return [...words, word];
}

function parseCpus(text: string): number {
	const cpus = Number(text);
	if (!/^\d+(\.\d+)?$/.test(text) || !(cpus > 0))
		throw new InvalidArgumentError("It is a number such as 1.5.");
	return Math.round(cpus * 1000);
}

function parseMiB(text: string): number {
	const bytes = parseBytes(text);
	if (bytes === undefined) throw new InvalidArgumentError("It is a size such as 512m or 2g.");
	return Math.ceil(bytes / MIB);
}

/** In bytes. */
export function parseSize(text: string): number {
	const bytes = parseBytes(text);
	if (bytes === undefined) throw new InvalidArgumentError("It is a size in bytes such as 4096 or 64k.");
	return bytes;
}

export function parseOffset(text: string): number {
	if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("It is a number of bytes.");
	return Number(text);
}

function parseCount(text: string): number {
	if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("It is a whole number.");
	return Number(text);
}

export function parseTime(text: string): number {
	const timeMs = parseDurationMs(text);
	if (timeMs === undefined || timeMs === 0) {
		throw new InvalidArgumentError("It is a time such as 500ms, 30s or 5m.");
	}
	return timeMs;
}
