/** Destroy: from every state, repeatable, and over only when nothing of the sandbox is left on the host. */
import { type Core, type Living, save, saveFact, unknownSandbox } from "./core.ts";
import { removeFromHost } from "./launch.ts";
import { settled } from "./steps.ts";

export async function destroySandbox(core: Core, id: string): Promise<void> {
	const living = core.living.get(id);
	if (!living) {
		// One that was destroyed before is remembered for a while.
		if (!core.store.find(id)) throw unknownSandbox(id);
		return;
	}
	living.destroying ??= destroyLiving(core, living).finally(() => {
		living.destroying = undefined;
	});
	await living.destroying;
}

async function destroyLiving(core: Core, living: Living): Promise<void> {
	const { id } = living.sandbox;
	await settled(living.step?.done);
	// The creation failed and has undone itself.
	if (core.living.get(id) !== living) return;
	// On a full disk nothing can be noted, and destroying is what makes room.
	saveFact(core, living, { state: "destroying" });
	await removeFromHost(core, living, { keepsUpper: false });
	save(core, living, { state: "destroyed", launch: null, deadline: null });
	core.living.delete(id);
	core.slots.giveBack(living.slot);
}
