/** `shale shell`: a terminal in a sandbox that outlives its user's connection, and the daemon. */
import type { Command } from "commander";
import { runAttached } from "../attached.ts";
import { connect, withSandbox } from "../connect.ts";
import { addEnvironmentOptions, type EnvironmentFlags, requireProgram, verbCommand } from "../options.ts";
import { terminalSize } from "../terminal.ts";

/** By PATH, and without a login profile, which would take this environment for another. */
const FIND_SHELL = ["/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh"];

export function command(program?: readonly string[]): Command {
	const verb = verbCommand("shell", "Opens a terminal in a sandbox, which Ctrl-P Ctrl-Q leaves running.")
		.usage("[options] SANDBOX [-- PROGRAM [ARGUMENT...]]")
		.argument("<sandbox>", "id or name of the sandbox")
		.argument("[words...]")
		.passThroughOptions(program === undefined);
	return addEnvironmentOptions(verb).action(
		async (idOrName: string, words: string[], flags: EnvironmentFlags) => {
			const isGiven = program !== undefined || words.length > 0;
			const prefix = `shale shell [options] ${idOrName}`;
			const argv = isGiven ? requireProgram(program, words, { prefix }) : FIND_SHELL;
			process.exitCode = await openShell(idOrName, argv, flags);
		},
	);
}

async function openShell(
	idOrName: string,
	argv: readonly string[],
	{ env, workdir, user }: EnvironmentFlags,
): Promise<number> {
	const shale = await connect({ sessions: true });
	const { TERM } = process.env;
	const options = {
		envs: { ...(TERM ? { TERM } : {}), ...env },
		cwd: workdir,
		user,
		terminal: terminalSize(),
		stdin: true,
	};
	const { sandbox, info } = await withSandbox(shale, idOrName, async (sandbox) => ({
		sandbox,
		info: await sandbox.processes.start(argv, options),
	}));
	return await runAttached({ sandbox, info, isOwn: true, isReadOnly: false });
}
