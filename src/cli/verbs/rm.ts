/** `shale rm`: destroys sandboxes, with all that runs and lies in them. */
import type { Command } from "commander";
import type { Shale } from "../../../sdk/src/index.ts";
import { ShaleError } from "../../lib/errors.ts";
import { connect, withSandbox } from "../connect.ts";
import { collectLabel, verbCommand } from "../options.ts";
import { print } from "../output.ts";
import { report } from "../report.ts";

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
			await removeEach(shale, isFilter ? await select(shale, flags) : names);
		});
}

async function select(shale: Shale, { label }: RmFlags): Promise<string[]> {
	const ids: string[] = [];
	for await (const { id, state } of shale.sandboxes.all({ labels: label, limit: 1000 })) {
		if (state !== "destroyed") ids.push(id);
	}
	return ids;
}

/** Each is tried; the exit code is that of the first failure. */
async function removeEach(shale: Shale, names: readonly string[]): Promise<void> {
	for (const name of names) {
		try {
			const id = await withSandbox(shale, name, async (sandbox) => {
				await sandbox.kill();
				return sandbox.id;
			});
			await print(`${id}\n`);
		} catch (error) {
			const exitCode = await report(error, undefined);
			process.exitCode ||= exitCode;
		}
	}
}
