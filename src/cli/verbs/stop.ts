/** `shale stop`: ends what runs in sandboxes and keeps what lies in them. */
import type { Command } from "commander";
import { connect } from "../connect.ts";
import { doEach } from "../each.ts";
import { verbCommand } from "../options.ts";

export function command(): Command {
	return verbCommand("stop", "Stops sandboxes, which keep their disk uppers, and prints their ids.")
		.usage("SANDBOX...")
		.argument("<sandbox...>", "id or name of a sandbox")
		.action(async (names: string[]) => doEach(await connect(), names, (sandbox) => sandbox.stop()));
}
