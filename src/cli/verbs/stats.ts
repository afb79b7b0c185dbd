/** `shale stats`: what sandboxes use now. */
import type { Command } from "commander";
import { type SandboxStats, type Shale, ShaleApiError } from "../../../sdk/src/index.ts";
import { formatBytes } from "../../lib/units.ts";
import { connect, withSandbox } from "../connect.ts";
import { addOutputOption, type OutputFlags, verbCommand } from "../options.ts";
import { print, printJson } from "../output.ts";
import { formatTable } from "../table.ts";

type Row = { readonly id: string } & SandboxStats;

export function command(): Command {
	const verb = verbCommand("stats", "Shows what sandboxes use now.")
		.usage("[options] [SANDBOX...]")
		.argument("[sandbox...]", "id or name of a sandbox; all that run when left out");
	return addOutputOption(verb).action(async (names: string[], flags: OutputFlags) => {
		const shale = await connect();
		const rows = names.length > 0 ? await statsOf(shale, names) : await statsOfRunning(shale);
		if (flags.output === "json") await printJson(rows);
		else await print(toTable(rows));
	});
}

async function statsOf(shale: Shale, names: readonly string[]): Promise<Row[]> {
	const rows: Row[] = [];
	for (const name of names) {
		rows.push(
			await withSandbox(shale, name, async (sandbox) => ({ id: sandbox.id, ...(await sandbox.stats()) })),
		);
	}
	return rows;
}

async function statsOfRunning(shale: Shale): Promise<Row[]> {
	const rows: Row[] = [];
	for await (const { id } of shale.sandboxes.all({ state: "running", limit: 1000 })) {
		try {
			rows.push({ id, ...(await shale.sandboxes.open(id).stats()) });
		} catch (error) {
			// It was destroyed since it was listed.
			const isGone = error instanceof ShaleApiError && ["not_found", "conflict"].includes(error.code);
			if (!isGone) throw error;
		}
	}
	return rows;
}

function toTable(rows: readonly Row[]): string {
	return formatTable(
		["ID", "MEMORY", "LIMIT", "PEAK", "CPU TIME", "THROTTLED", "PROCESSES", "OOM KILLS"],
		rows.map((row) => [
			row.id,
			formatBytes(row.memoryBytes),
			formatBytes(row.memoryLimitBytes),
			formatBytes(row.memoryPeakBytes),
			`${(row.cpuUsageUs / 1e6).toFixed(2)} s`,
			`${(row.cpuThrottledUs / 1e6).toFixed(2)} s`,
			String(row.processes),
			String(row.oomKills),
		]),
	);
}
