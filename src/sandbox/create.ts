/** Create: reserve the record, launch, begin to talk to the agent. A failure at any step leaves nothing behind. */
import type { Backend } from "../backends/backend.ts";
import { withCleanup } from "../lib/cleanup.ts";
import { ShaleError } from "../lib/errors.ts";
import { toNeed } from "./admission.ts";
import { type Core, type Living, setState, toLaunchSpec, withAgent } from "./core.ts";
import { resolveSandbox } from "./resolve.ts";
import type { CreateSandbox, Sandbox } from "./types.ts";

export async function createSandbox(core: Core, request: CreateSandbox): Promise<Sandbox> {
	const sandbox = resolve(core, request);
	const backend = core.getBackend(sandbox.backend);
	const living = reserve(core, sandbox);
	const creation = launch(core, { sandbox, backend, living });
	living.created = creation.then(
		() => undefined,
		() => undefined,
	);
	await creation;
	watch(core, living);
	return living.sandbox;
}

/** The whole sandbox that a request stands for; nothing is made. */
export function resolve(core: Core, request: CreateSandbox): Sandbox {
	return resolveSandbox(request, {
		machine: core.machine,
		defaultBackend: core.defaultBackend,
		defaultLayers: request.layers ? [] : core.layers.defaultStack(),
		toStack: (names) => core.layers.toStack(names),
		now: new Date(),
	});
}

/** Takes id, name and slot before anything is made, so that of two equal requests one is refused. */
function reserve(core: Core, sandbox: Sandbox): Living {
	const slot = core.slots.take();
	try {
		core.store.insert(sandbox, slot);
	} catch (error) {
		core.slots.giveBack(slot);
		throw error;
	}
	const living: Living = {
		sandbox,
		slot,
		created: Promise.resolve(),
		launched: undefined,
		agent: undefined,
		destroying: undefined,
	};
	core.living.set(sandbox.id, living);
	return living;
}

interface Launch {
	readonly sandbox: Sandbox;
	readonly backend: Backend;
	readonly living: Living;
}

function launch(core: Core, { sandbox, backend, living }: Launch): Promise<void> {
	const steps = withCleanup(
		async (cleanup) => {
			cleanup.add(() => {
				core.store.remove(sandbox.id);
				core.slots.giveBack(living.slot);
				core.living.delete(sandbox.id);
			});
			const need = toNeed(sandbox, { keepsUpper: false });
			const launched = await core.admission.admit(need, () =>
				backend.launch(toLaunchSpec(sandbox, living.slot)),
			);
			cleanup.add(() => launched.destroy());
			living.launched = launched;
			setState(core, living, "running");
			// It runs. Whoever needs it first is told when it cannot be reached.
			withAgent(core, sandbox.id, () => undefined).catch(() => undefined);
		},
		(error) => core.log.error({ err: error, sandbox: sandbox.id }, "undoing a create failed"),
	);
	return steps.catch((error: unknown) => {
		if (error instanceof ShaleError) throw error;
		throw new ShaleError("internal", `creating sandbox ${sandbox.id}: ${String(error)}`, { cause: error });
	});
}

/** A sandbox that dies by itself keeps its record, with the reason; what it had on the host is given back. */
function watch(core: Core, living: Living): void {
	const { id } = living.sandbox;
	void living.launched?.exited.then(async ({ reason }) => {
		if (living.destroying) return;
		core.log.warn({ sandbox: id, reason }, "sandbox ended");
		setState(core, living, "failed", reason);
		await living.launched?.destroy().catch((error: unknown) => {
			core.log.error({ err: error, sandbox: id }, "cleaning up after a sandbox failed");
		});
	});
}
