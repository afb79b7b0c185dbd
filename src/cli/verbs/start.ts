/** `shale start`: runs stopped sandboxes again. */
import type { Command } from "commander";
import { connect } from "../connect.ts";
import { doEach } from "../each.ts";
import { verbCommand } from "../options.ts";

export function command(): Command {
	return verbCommand("start", "Starts sandboxes that were stopped, and prints their ids.")
		.usage("SANDBOX...")
		.argument("<sandbox...>", "id or name of a sandbox")
		.action(async (names: string[]) => doEach(await connect(), names, (sandbox) => sandbox.start()));
}
