/** The process that the user named, or the newest. */
import type { ProcessInfo, Sandbox, Shale } from "../../sdk/src/index.ts";
import { ShaleError } from "../lib/errors.ts";
import { withSandbox } from "./connect.ts";

export interface FoundProcess {
	readonly sandbox: Sandbox;
	readonly info: ProcessInfo;
}

/** @throws ShaleError `not_found` */
export async function findProcess(
	shale: Shale,
	idOrName: string,
	processId: string | undefined,
): Promise<FoundProcess> {
	return await withSandbox(shale, idOrName, async (sandbox) => ({
		sandbox,
		info: await find(sandbox, processId),
	}));
}

async function find(sandbox: Sandbox, processId: string | undefined): Promise<ProcessInfo> {
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
