/** `shale extend`: another end of a sandbox's lifetime. */
import type { Command } from "commander";
import { connect, withSandbox } from "../connect.ts";
import { parseTime, verbCommand } from "../options.ts";
import { print } from "../output.ts";

export function command(): Command {
	return verbCommand("extend", "Sets when a sandbox's lifetime ends, counted from now, and prints that time.")
		.usage("SANDBOX DURATION")
		.argument("<sandbox>", "id or name of a sandbox")
		.argument("<duration>", "time such as 30m or 2h, or never", parseDuration)
		.action(async (idOrName: string, lifetimeMs: number | null) => {
			const shale = await connect();
			const { expiresAt } = await withSandbox(shale, idOrName, (sandbox) => sandbox.setTimeout(lifetimeMs));
			await print(`${expiresAt ?? "never"}\n`);
		});
}

function parseDuration(text: string): number | null {
	return text === "never" ? null : parseTime(text);
}
