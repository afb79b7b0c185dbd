/** `shale create`: a sandbox that runs until it is removed. */
import type { Command } from "commander";
import { connect } from "../connect.ts";
import {
	addOutputOption,
	addSandboxOptions,
	type OutputFlags,
	type SandboxFlags,
	toCreateSandbox,
	verbCommand,
} from "../options.ts";
import { print, printJson } from "../output.ts";

export function command(): Command {
	const verb = verbCommand("create", "Creates a sandbox and prints its id.");
	return addOutputOption(addSandboxOptions(verb)).action(async (flags: SandboxFlags & OutputFlags) => {
		const shale = await connect();
		const sandbox = await shale.sandboxes.create(toCreateSandbox(flags));
		if (flags.output === "json") await printJson(await sandbox.info());
		else await print(`${sandbox.id}\n`);
	});
}
