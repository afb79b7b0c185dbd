/** `shale inspect`: all that is known about sandboxes, as JSON. */
import type { Command } from "commander";
import { connect, withSandbox } from "../connect.ts";
import { verbCommand } from "../options.ts";
import { printJson } from "../output.ts";

export function command(): Command {
	return verbCommand("inspect", "Shows all that is known about a sandbox, as JSON.")
		.usage("SANDBOX...")
		.argument("<sandbox...>", "id or name of a sandbox")
		.action(async (names: string[]) => {
			const shale = await connect();
			for (const name of names) await printJson(await withSandbox(shale, name, (sandbox) => sandbox.info()));
		});
}
