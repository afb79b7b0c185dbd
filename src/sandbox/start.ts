/** Start: launches a stopped sandbox again, or one that failed, on the disk upper that was kept. */
import { toShaleError } from "../lib/errors.ts";
import { type Core, getLiving, type Living, notRunning, save, saveFact, toRecord } from "./core.ts";
import { keepsUpper, launch, removeFromHost } from "./launch.ts";
import { takeStep } from "./steps.ts";
import type { Sandbox } from "./types.ts";

/** Its lifetime begins again. A running one is left as it is. */
export async function startAgain(core: Core, id: string): Promise<Sandbox> {
	const living = getLiving(core, id);
	await takeStep(living, "start", () => startLiving(core, living));
	return toRecord(core, living.stored);
}

async function startLiving(core: Core, living: Living): Promise<void> {
	const { id, state } = living.sandbox;
	if (living.destroying || core.living.get(id) !== living) throw notRunning(living);
	if (state === "running") return;
	const canStart = state === "stopped" || (state === "failed" && keepsUpper(living.sandbox));
	if (!canStart) throw notRunning(living);
	save(core, living, { state: "starting" });
	try {
		// One upper must never be mounted twice, and what ended may have left something behind.
		await removeFromHost(core, living, { keepsUpper: true });
		await launch(core, living, { keepsUpper: true });
	} catch (error) {
		saveFact(core, living, { state, reason: `starting it failed: ${toShaleError(error).message}` });
		throw error;
	}
}
