/** `shale logs`: the output of a process that the sandbox still keeps. */
import type { Command } from "commander";
import { connect } from "../connect.ts";
import { type FoundProcess, findProcess } from "../find-process.ts";
import { NOTICES, toDroppedText } from "../notices.ts";
import { parseOffset, parseSize, verbCommand } from "../options.ts";
import { notice, writeOutput } from "../output.ts";

interface LogsFlags {
	readonly follow?: true;
	readonly tail?: number;
	readonly stdoutAfter?: number;
	readonly stderrAfter?: number;
}

export function command(): Command {
	return verbCommand("logs", "Prints the output of a process that is still kept, stderr to stderr.")
		.usage("[options] SANDBOX [PROCESS]")
		.argument("<sandbox>", "id or name of the sandbox")
		.argument("[process]", "id of the process; the one started last when left out")
		.option("-f, --follow", "go on until the process exits")
		.option("--tail <size>", "only the newest so many bytes of each stream: 4k", parseSize)
		.option("--stdout-after <offset>", "go on from this byte of stdout", parseOffset)
		.option("--stderr-after <offset>", "go on from this byte of stderr", parseOffset)
		.action(async (idOrName: string, processId: string | undefined, flags: LogsFlags) => {
			const shale = await connect();
			await printOutput(await findProcess(shale, idOrName, processId), flags);
		});
}

async function printOutput({ sandbox, info }: FoundProcess, flags: LogsFlags): Promise<void> {
	const follow = flags.follow === true;
	const events = sandbox.processes.output(info.id, {
		...flags,
		follow,
		onConnection: NOTICES.onConnection,
		...(follow ? { reconnectMs: Number.POSITIVE_INFINITY } : {}),
	});
	for await (const event of events) {
		if (event.type === "dropped") await notice(toDroppedText(event));
		else if (event.type === "output") await writeOutput(event.stream, event.data);
	}
}
