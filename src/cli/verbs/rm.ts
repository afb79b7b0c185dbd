/** `shale rm`: destroys sandboxes, with all that runs and lies in them. */
import type { Command } from "commander";
import type { Shale } from "../../../sdk/src/index.ts";
import { ShaleError } from "../../lib/errors.ts";
import { connect } from "../connect.ts";
import { doEach } from "../each.ts";
import { collectLabel, verbCommand } from "../options.ts";

interface RmFlags {
	readonly all?: true;
	readonly label?: Record<string, string>;
}

export function command(): Command {
	return verbCommand("rm", "Destroys sandboxes, with all that runs and lies in them, and prints their ids.")
		.usage("[options] [SANDBOX...]")
		.argument("[sandbox...]", "id or name of a sandbox")
		.option("--all", "every sandbox")
		.option("--label <K=V>", "every sandbox with this label, repeatable", collectLabel)
		.action(async (names: string[], flags: RmFlags) => {
			const isFilter = flags.all === true || flags.label !== undefined;
			if (isFilter === names.length > 0) {
				throw new ShaleError("invalid_argument", "rm takes either sandboxes or --all or --label", {
					hint: "shale ls lists the sandboxes.",
				});
			}
			const shale = await connect();
			await doEach(shale, isFilter ? await select(shale, flags) : names, (sandbox) => sandbox.kill());
		});
}

async function select(shale: Shale, { label }: RmFlags): Promise<string[]> {
	const ids: string[] = [];
	for await (const { id, state } of shale.sandboxes.all({ labels: label, limit: 1000 })) {
		if (state !== "destroyed") ids.push(id);
	}
	return ids;
}
