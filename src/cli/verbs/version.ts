/** `shale version`: ours, and on request the daemon's. Without options dispatch.ts answers by itself. */
import type { Command } from "commander";
import { packageVersion } from "../../lib/package-root.ts";
import { connectToRunning } from "../connect.ts";
import { addOutputOption, type OutputFlags, verbCommand } from "../options.ts";
import { print, printJson } from "../output.ts";

export function command(): Command {
	const verb = verbCommand("version", "Prints the version.").option(
		"--daemon",
		"that of the running daemon too",
	);
	return addOutputOption(verb).action(async (flags: OutputFlags & { readonly daemon?: true }) => {
		const daemon = flags.daemon ? await (await connectToRunning()).version() : undefined;
		if (flags.output === "json") return await printJson({ version: packageVersion(), daemon });
		await print(`shale ${packageVersion()}\n`);
		if (daemon) await print(`daemon ${daemon.version}, Node ${daemon.node}, Linux ${daemon.kernel}\n`);
	});
}
