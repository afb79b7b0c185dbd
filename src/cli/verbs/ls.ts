/** `shale ls`: the sandboxes. */
import { type Command, Option } from "commander";
import type { SandboxInfo, SandboxState } from "../../../sdk/src/index.ts";
import { formatBytes, MIB } from "../../lib/units.ts";
import { connect } from "../connect.ts";
import { addOutputOption, collectLabel, type OutputFlags, verbCommand } from "../options.ts";
import { print, printJson } from "../output.ts";
import { formatAge, formatSeconds, formatTable } from "../table.ts";

interface LsFlags extends OutputFlags {
	readonly label?: Record<string, string>;
	readonly name?: string;
	readonly state?: SandboxState;
	readonly quiet?: true;
}

const STATES = [
	"creating",
	"running",
	"stopping",
	"stopped",
	"starting",
	"failed",
	"destroying",
	"destroyed",
] satisfies SandboxState[];

export function command(): Command {
	const verb = verbCommand("ls", "Lists sandboxes.")
		.option("--label <K=V>", "only with this label, repeatable", collectLabel)
		.option("--name <name>", "only with this name")
		.addOption(new Option("--state <state>", "only in this state").choices(STATES))
		.option("-q, --quiet", "print ids only");
	return addOutputOption(verb).action(async (flags: LsFlags) => {
		const shale = await connect();
		const sandboxes: SandboxInfo[] = [];
		const filter = { labels: flags.label, name: flags.name, state: flags.state, limit: 1000 };
		for await (const sandbox of shale.sandboxes.all(filter)) sandboxes.push(sandbox);
		if (flags.output === "json") await printJson({ sandboxes, cursor: null });
		else if (flags.quiet) await print(sandboxes.map(({ id }) => `${id}\n`).join(""));
		else await print(toTable(sandboxes, new Date()));
	});
}

function toTable(sandboxes: readonly SandboxInfo[], now: Date): string {
	return formatTable(
		["ID", "NAME", "STATE", "BACKEND", "CPUS", "MEMORY", "AGE", "ENDS", "LABELS"],
		sandboxes.map((sandbox) => [
			sandbox.id,
			sandbox.name ?? "-",
			sandbox.state,
			sandbox.backend,
			String(sandbox.limits.cpuMillis / 1000),
			formatBytes(sandbox.limits.memoryMiB * MIB),
			formatAge(sandbox.createdAt, now),
			formatEnd(sandbox, now),
			Object.entries(sandbox.labels)
				.map(([key, value]) => `${key}=${value}`)
				.join(","),
		]),
	);
}

/** `in 5m`, `10m idle`, or both. */
function formatEnd({ expiresAt, idleTimeoutMs }: SandboxInfo, now: Date): string {
	const ends = [
		...(expiresAt === null ? [] : [`in ${formatSeconds((Date.parse(expiresAt) - now.getTime()) / 1000)}`]),
		...(idleTimeoutMs === null ? [] : [`${formatSeconds(idleTimeoutMs / 1000)} idle`]),
	];
	return ends.join(", ") || "-";
}
