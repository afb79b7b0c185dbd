/** The verbs of `shale`: help, dispatch, completion and the check of docs/cli.md all read this table. */
import type { Command } from "commander";

export interface VerbModule {
	/**
	 * The verb's options and action, fresh for each call. `program` is what followed `--`, for the verbs that
	 * run one; undefined when there was no `--`.
	 */
	readonly command: (program?: readonly string[]) => Command;
}

export interface VerbEntry {
	readonly name: string;
	readonly summary: string;
	/** Is there for a program: takes it after `--`, and exits with its code, so that a failure of Shale is always 125. */
	readonly runsProgram?: boolean;
	readonly load: () => Promise<VerbModule>;
}

export const VERBS: readonly VerbEntry[] = [
	{
		name: "run",
		summary: "run a program in a new sandbox",
		runsProgram: true,
		load: () => import("./verbs/run.ts"),
	},
	{ name: "create", summary: "create a sandbox", load: () => import("./verbs/create.ts") },
	{
		name: "exec",
		summary: "run a program in a sandbox",
		runsProgram: true,
		load: () => import("./verbs/exec.ts"),
	},
	{
		name: "shell",
		summary: "open a terminal in a sandbox",
		runsProgram: true,
		load: () => import("./verbs/shell.ts"),
	},
	{
		name: "attach",
		summary: "attach to a process of a sandbox",
		runsProgram: true,
		load: () => import("./verbs/attach.ts"),
	},
	{ name: "cp", summary: "copy files in and out of sandboxes", load: () => import("./verbs/cp.ts") },
	{ name: "ls", summary: "list sandboxes", load: () => import("./verbs/ls.ts") },
	{
		name: "inspect",
		summary: "show all that is known about a sandbox",
		load: () => import("./verbs/inspect.ts"),
	},
	{ name: "ps", summary: "list the processes of a sandbox", load: () => import("./verbs/ps.ts") },
	{ name: "logs", summary: "print the kept output of a process", load: () => import("./verbs/logs.ts") },
	{ name: "kill", summary: "send a signal to processes", load: () => import("./verbs/kill.ts") },
	{ name: "stats", summary: "show what sandboxes use", load: () => import("./verbs/stats.ts") },
	{
		name: "stop",
		summary: "stop sandboxes and keep what lies in them",
		load: () => import("./verbs/stop.ts"),
	},
	{ name: "start", summary: "start stopped sandboxes again", load: () => import("./verbs/start.ts") },
	{
		name: "extend",
		summary: "set when a sandbox's lifetime ends",
		load: () => import("./verbs/extend.ts"),
	},
	{ name: "rm", summary: "destroy sandboxes", load: () => import("./verbs/rm.ts") },
	{ name: "events", summary: "show what happens, as it happens", load: () => import("./verbs/events.ts") },
	{
		name: "layers",
		summary: "list, build, import and remove layers",
		load: () => import("./verbs/layers.ts"),
	},
	{ name: "serve", summary: "start the daemon", load: () => import("./verbs/serve.ts") },
	{ name: "doctor", summary: "check what this machine can do", load: () => import("./verbs/doctor.ts") },
	{ name: "gc", summary: "remove what no sandbox owns", load: () => import("./verbs/gc.ts") },
	{
		name: "explain",
		summary: "print the plan that a sandbox is made from",
		load: () => import("./verbs/explain.ts"),
	},
	{ name: "version", summary: "print the version", load: () => import("./verbs/version.ts") },
	{
		name: "completion",
		summary: "print a completion script for a shell",
		load: () => import("./verbs/completion.ts"),
	},
];
