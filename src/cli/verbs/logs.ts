/** `shale logs`: the output of a process that the sandbox still keeps. */
import type { Command } from "commander";
import type { ProcessInfo, Sandbox } from "../../../sdk/src/index.ts";
import { ShaleError } from "../../lib/errors.ts";
import { connect, withSandbox } from "../connect.ts";
import { verbCommand } from "../options.ts";
import { notice, writeOutput } from "../output.ts";

export function command(): Command {
	return verbCommand("logs", "Prints the output of a process that is still kept, stderr to stderr.")
		.usage("[options] SANDBOX [PROCESS]")
		.argument("<sandbox>", "id or name of the sandbox")
		.argument("[process]", "id of the process; the one started last when left out")
		.option("-f, --follow", "go on until the process exits")
		.action(async (idOrName: string, processId: string | undefined, flags: { readonly follow?: true }) => {
			const shale = await connect();
			const { sandbox, info } = await withSandbox(shale, idOrName, async (sandbox) => ({
				sandbox,
				info: await findProcess(sandbox, processId),
			}));
			await printOutput(sandbox, info.id, { follow: flags.follow === true });
		});
}

async function findProcess(sandbox: Sandbox, processId: string | undefined): Promise<ProcessInfo> {
	const processes = await sandbox.processes.list();
	const wanted = processId === undefined ? processes : processes.filter(({ id }) => id === processId);
	const [newest] = wanted.toSorted((a, b) => b.startedAt.localeCompare(a.startedAt));
	if (newest) return newest;
	throw new ShaleError(
		"not_found",
		processId === undefined
			? `no process was started in ${sandbox.id}`
			: `there is no process ${processId} in ${sandbox.id}`,
		{ hint: `shale ps ${sandbox.id} lists its processes.` },
	);
}

async function printOutput(
	sandbox: Sandbox,
	processId: string,
	{ follow }: { readonly follow: boolean },
): Promise<void> {
	const next = { stdout: 0, stderr: 0 };
	for await (const event of sandbox.processes.output(processId, { follow })) {
		if (event.type !== "output") continue;
		const { stream, offset, data } = event;
		if (offset > next[stream]) await notice(`${offset - next[stream]} bytes of ${stream} are no longer kept`);
		next[stream] = offset + data.byteLength;
		await writeOutput(stream, data);
	}
}
