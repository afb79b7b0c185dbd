/** `shale kill`: a signal to processes of a sandbox. */
import type { Command } from "commander";
import { connect, withSandbox } from "../connect.ts";
import { verbCommand } from "../options.ts";
import { print } from "../output.ts";
import { report } from "../report.ts";

interface KillFlags {
	readonly signal: string;
	readonly only?: true;
}

export function command(): Command {
	return verbCommand("kill", "Sends a signal to processes and all that they started, and prints their ids.")
		.usage("[options] SANDBOX PROCESS...")
		.argument("<sandbox>", "id or name of the sandbox")
		.argument("<process...>", "id of a process")
		.option("-s, --signal <name>", "the signal: TERM, KILL, INT, …", "SIGTERM")
		.option("--only", "to the process itself, not to its group")
		.action(async (idOrName: string, processIds: string[], flags: KillFlags) => {
			const shale = await connect();
			for (const processId of processIds) {
				try {
					await withSandbox(shale, idOrName, (sandbox) =>
						sandbox.processes.signal(processId, flags.signal, { group: flags.only !== true }),
					);
					await print(`${processId}\n`);
				} catch (error) {
					const exitCode = await report(error, undefined);
					process.exitCode ||= exitCode;
				}
			}
		});
}
