/** `shale gc`: removes from the daemon's host what no sandbox owns. */
import type { Command } from "commander";
import type { Resource } from "../../../sdk/src/index.ts";
import { connectToRunning } from "../connect.ts";
import { addOutputOption, type OutputFlags, verbCommand } from "../options.ts";
import { notice, print, printJson } from "../output.ts";
import { formatTable } from "../table.ts";

export function command(): Command {
	const verb = verbCommand("gc", "Removes what no sandbox owns, and lists it.").option(
		"--dry-run",
		"only list it",
	);
	return addOutputOption(verb).action(async (flags: OutputFlags & { readonly dryRun?: true }) => {
		const shale = await connectToRunning();
		const report = await shale.gc({ dryRun: flags.dryRun === true });
		const { removed, left } = report;
		if (flags.output === "json") await printJson(report);
		else if (removed.length > 0) await print(toResourceTable(removed));
		if (left.length === 0) return;
		if (flags.output !== "json") await notice(`could not be removed:\n${toResourceTable(left).trimEnd()}`);
		process.exitCode = 1;
	});
}

export function toResourceTable(resources: readonly Resource[]): string {
	const rows = resources.map(({ kind, name, sandboxId }) => [kind, sandboxId ?? "-", name]);
	return formatTable(["KIND", "SANDBOX", "NAME"], rows);
}
