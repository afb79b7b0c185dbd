/** Stop: ends all processes and keeps the disk upper, with the sandbox's id, name and range of user ids. */
import { ShaleError } from "../lib/errors.ts";
import { type Core, getLiving, type Living, notRunning, save, toRecord } from "./core.ts";
import { keepsUpper, removeFromHost } from "./launch.ts";
import { takeStep } from "./steps.ts";
import type { Sandbox } from "./types.ts";

/** Repeatable, also after a stop that failed half-way. */
export async function stopSandbox(core: Core, id: string, reason: string | null = null): Promise<Sandbox> {
	const living = getLiving(core, id);
	await takeStep(living, "stop", () => stopLiving(core, living, reason));
	return toRecord(core, living.stored);
}

async function stopLiving(core: Core, living: Living, reason: string | null): Promise<void> {
	const { id, state } = living.sandbox;
	if (living.destroying || core.living.get(id) !== living) throw notRunning(living);
	if (state === "stopped") return;
	if (state !== "running" && state !== "stopping") throw notRunning(living);
	if (!keepsUpper(living.sandbox)) {
		throw new ShaleError(
			"conflict",
			`sandbox ${id} has its writable layer in memory, which a stop would lose`,
			{
				hint: 'Create it with upper "disk" to stop and start it.',
			},
		);
	}
	save(core, living, { state: "stopping", reason });
	await removeFromHost(core, living, { keepsUpper: true });
	save(core, living, { state: "stopped", reason, launch: null, deadline: null });
}
