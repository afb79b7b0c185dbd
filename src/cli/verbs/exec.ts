/** `shale exec`: a program in a sandbox that is running. */
import type { Command } from "commander";
import { connect, withSandbox } from "../connect.ts";
import { needsSession, runInForeground } from "../foreground.ts";
import { Interrupts } from "../interrupts.ts";
import {
	addEnvironmentOptions,
	addProgramOptions,
	type EnvironmentFlags,
	type ProgramFlags,
	requireProgram,
	toProcessOptions,
	verbCommand,
} from "../options.ts";
import { print } from "../output.ts";
import { terminalSize } from "../terminal.ts";

type ExecFlags = EnvironmentFlags & ProgramFlags;

export function command(program?: readonly string[]): Command {
	const verb = verbCommand("exec", "Runs a program in a sandbox, which stays when the program has ended.")
		.usage("[options] SANDBOX -- PROGRAM [ARGUMENT...]")
		.argument("<sandbox>", "id or name of the sandbox")
		.argument("[words...]")
		.passThroughOptions(program === undefined);
	return addEnvironmentOptions(addProgramOptions(verb)).action(
		async (idOrName: string, words: string[], flags: ExecFlags) => {
			const argv = requireProgram(program, words, { prefix: `shale exec [options] ${idOrName}` });
			process.exitCode = flags.detach
				? await execDetached(idOrName, argv, flags)
				: await exec(idOrName, argv, flags);
		},
	);
}

async function exec(idOrName: string, argv: readonly string[], flags: ExecFlags): Promise<number> {
	using interrupts = new Interrupts();
	const shale = await connect({ sessions: needsSession(flags), signal: interrupts.signal });
	const options = toProcessOptions(flags);
	return await withSandbox(shale, idOrName, (sandbox) =>
		runInForeground({ sandbox, argv, options, flags, interrupts }),
	);
}

async function execDetached(idOrName: string, argv: readonly string[], flags: ExecFlags): Promise<number> {
	const shale = await connect();
	const terminal = flags.tty ? terminalSize() : undefined;
	const { id } = await withSandbox(shale, idOrName, (sandbox) =>
		sandbox.processes.start(argv, { ...toProcessOptions(flags), terminal }),
	);
	await print(`${id}\n`);
	return 0;
}
