/** `shale attach`: the output of a process that runs, and keys for it, as one of any number of users. */
import type { Command } from "commander";
import { runAttached } from "../attached.ts";
import { connect } from "../connect.ts";
import { findProcess } from "../find-process.ts";
import { parseSize, verbCommand } from "../options.ts";

interface AttachFlags {
	readonly readOnly?: true;
	readonly tail: number;
}

/** Several screens of a terminal. */
const REPLAY_BYTES = 64 * 1024;

export function command(): Command {
	return verbCommand(
		"attach",
		"Attaches to a process; leaving it (Ctrl-P Ctrl-Q on a terminal) ends nothing.",
	)
		.usage("[options] SANDBOX [PROCESS]")
		.argument("<sandbox>", "id or name of the sandbox")
		.argument("[process]", "id of the process; the one started last when left out")
		.option("--read-only", "only watch")
		.option("--tail <size>", "how much of what came before is shown: 64k", parseSize, REPLAY_BYTES)
		.action(async (idOrName: string, processId: string | undefined, flags: AttachFlags) => {
			const shale = await connect({ sessions: true });
			const found = await findProcess(shale, idOrName, processId);
			process.exitCode = await runAttached({
				...found,
				isReadOnly: flags.readOnly === true,
				tailBytes: flags.tail,
				isOwn: false,
			});
		});
}
