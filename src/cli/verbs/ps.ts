/** `shale ps`: the processes that were started in a sandbox. */
import type { Command } from "commander";
import type { ProcessInfo } from "../../../sdk/src/index.ts";
import { connect, withSandbox } from "../connect.ts";
import { addOutputOption, type OutputFlags, verbCommand } from "../options.ts";
import { print, printJson } from "../output.ts";
import { formatAge, formatTable, toShellWords } from "../table.ts";

/** A command line beyond this is cut; `-o json` has all of it. */
const MAX_COMMAND_LENGTH = 60;

export function command(): Command {
	const verb = verbCommand("ps", "Lists the processes that were started in a sandbox.")
		.usage("[options] SANDBOX")
		.argument("<sandbox>", "id or name of the sandbox");
	return addOutputOption(verb).action(async (idOrName: string, flags: OutputFlags) => {
		const shale = await connect();
		const processes = await withSandbox(shale, idOrName, (sandbox) => sandbox.processes.list());
		if (flags.output === "json") await printJson({ processes });
		else await print(toTable(processes, new Date()));
	});
}

function toTable(processes: readonly ProcessInfo[], now: Date): string {
	return formatTable(
		["PROCESS", "PID", "STATE", "EXIT", "AGE", "COMMAND"],
		processes.map((info) => [
			info.id,
			String(info.guestPid),
			info.state,
			toExit(info),
			formatAge(info.startedAt, now),
			toShellWords(info.argv).slice(0, MAX_COMMAND_LENGTH),
		]),
	);
}

function toExit({ exitCode, signal, timedOut }: ProcessInfo): string {
	if (exitCode === null) return "-";
	if (timedOut) return "timeout";
	return signal ?? String(exitCode);
}
