/** Destroy: from every state, repeatable, and over only when nothing of the sandbox is left on the host. */
import { type Core, closeAgent, type Living, setState, unknownSandbox } from "./core.ts";

export async function destroySandbox(core: Core, id: string): Promise<void> {
	const living = core.living.get(id);
	if (!living) {
		if (!core.store.find(id)) throw unknownSandbox(id);
		// Destroyed before, or a record from before a restart, whose remains were removed at start.
		core.store.setState(id, "destroyed");
		return;
	}
	living.destroying ??= destroyLiving(core, living).finally(() => {
		living.destroying = undefined;
	});
	await living.destroying;
}

async function destroyLiving(core: Core, living: Living): Promise<void> {
	const { id } = living.sandbox;
	await living.created;
	// The creation failed and has undone itself.
	if (core.living.get(id) !== living) return;
	setState(core, living, "destroying");
	await living.launched?.destroy();
	await closeAgent(living);
	setState(core, living, "destroyed");
	core.living.delete(id);
	core.slots.giveBack(living.slot);
}
