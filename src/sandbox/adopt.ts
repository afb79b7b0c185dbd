/**
 * Adoption: what a new daemon makes of the records that it finds. What lives is taken over as it is, what was half-done
 * is finished or rolled back, and what no record owns is removed from the host.
 */
import type { Backend, LaunchedSandbox } from "../backends/backend.ts";
import { toShaleError } from "../lib/errors.ts";
import { type Changes, type Core, Living, saveFact } from "./core.ts";
import { keepsUpper, take, toLaunchSpec } from "./launch.ts";
import type { SandboxState } from "./types.ts";

/** Each is a few reads of /proc and a word with the jailer. */
const PARALLEL = 32;

const RESTARTED = "the host was restarted";
const ENDED = "it ended while no daemon ran";
const TOO_OLD = "an older version of Shale ran it, and did not note how to find it again";

/** Every record has its sandbox or its end when this resolves. Needs an empty core. */
export async function adoptAll(core: Core, backends: readonly Backend[]): Promise<void> {
	const found = core.store.listLiving().map((stored) => new Living(stored, core.clock));
	for (const living of found) {
		core.living.set(living.sandbox.id, living);
		core.slots.reserve(living.slot);
	}
	const untouched = new Set<string>();
	await inParallel(found, async (living) => {
		if (await adopt(core, living)) untouched.add(living.sandbox.id);
	});
	const hasRemains = !(await removeOrphans(core, backends, untouched));
	for (const living of found) finish(core, living, hasRemains);
	if (found.length > 0) core.log.info(countStates(found), "took over the sandboxes of an earlier daemon");
}

/** Takes it over if it should run and does; otherwise notes what became of it. Returns whether its remains stay. */
async function adopt(core: Core, living: Living): Promise<boolean> {
	if (!mayLive(living)) return false;
	try {
		const launched = await find(core, living);
		if (launched) {
			if (living.sandbox.state !== "running") saveFact(core, living, { state: "running" });
			take(core, living, launched);
			core.events.emit("sandbox.adopted", { sandboxId: living.sandbox.id });
			return true;
		}
		saveFact(core, living, { ...toEnd(core, living), launch: null });
		return false;
	} catch (error) {
		// Whether it lives is not known: nothing of it is removed until somebody destroys it.
		core.log.error({ err: error, sandbox: living.sandbox.id }, "a sandbox could not be taken over");
		const reason = `it could not be taken over: ${toShaleError(error).message}`;
		saveFact(core, living, { state: "failed", reason });
		return true;
	}
}

/** A failed one with a launch is one that could not be taken over before. */
function mayLive({ sandbox: { state }, stored }: Living): boolean {
	return state === "running" || state === "starting" || (state === "failed" && stored.launch !== null);
}

async function find(core: Core, { sandbox, stored }: Living): Promise<LaunchedSandbox | undefined> {
	if (stored.launch?.bootId !== core.clock.bootId) return undefined;
	const spec = toLaunchSpec(sandbox, stored.slot);
	return await core.getBackend(sandbox.backend).adopt(spec, stored.launch.record);
}

/** Of one that should run and does not. */
function toEnd(core: Core, { sandbox, stored }: Living): Changes {
	const { launch } = stored;
	if (sandbox.state === "starting")
		return { state: "stopped", reason: "its start was cut short", deadline: null };
	if (!launch) return { state: "failed", reason: TOO_OLD };
	if (launch.bootId === core.clock.bootId) return { state: "failed", reason: ENDED };
	return keepsUpper(sandbox)
		? { state: "stopped", reason: RESTARTED, deadline: null }
		: { state: "failed", reason: RESTARTED };
}

/** The steps that were under way when the daemon ended, each with how it ends once its remains are gone. */
const FINISHES: Readonly<Partial<Record<SandboxState, (core: Core, living: Living) => void>>> = {
	creating: (core, living) => {
		core.store.remove(living.sandbox.id);
		release(core, living);
	},
	destroying: (core, living) => {
		saveFact(core, living, { state: "destroyed", launch: null, deadline: null });
		release(core, living);
	},
	stopping: (core, living) => {
		const { reason } = living.sandbox;
		saveFact(core, living, { state: "stopped", reason, launch: null, deadline: null });
	},
};

function finish(core: Core, living: Living, hasRemains: boolean): void {
	const { state } = living.sandbox;
	if (!hasRemains) FINISHES[state]?.(core, living);
	// What could not be removed is there to be destroyed again.
	else if (state === "creating") saveFact(core, living, { state: "destroying" });
}

function release(core: Core, living: Living): void {
	core.living.delete(living.sandbox.id);
	core.slots.giveBack(living.slot);
}

/** Returns whether all was removed. A process that is stuck in the kernel must not keep the daemon from starting. */
async function removeOrphans(
	core: Core,
	backends: readonly Backend[],
	untouched: ReadonlySet<string>,
): Promise<boolean> {
	const isKept = ({ sandbox }: Living) =>
		keepsUpper(sandbox) && sandbox.state !== "creating" && sandbox.state !== "destroying";
	const keepUppers = new Set([...core.living.values()].filter(isKept).map(({ sandbox }) => sandbox.id));
	try {
		for (const backend of backends) await backend.removeOrphans(untouched, { keepUppers });
		return true;
	} catch (error) {
		core.log.error({ err: error }, "what an earlier daemon left could not be removed");
		return false;
	}
}

async function inParallel(all: readonly Living[], action: (living: Living) => Promise<void>): Promise<void> {
	const rest = all.values();
	const work = async () => {
		for (const living of rest) await action(living);
	};
	await Promise.all(Array.from({ length: PARALLEL }, work));
}

function countStates(found: readonly Living[]): Record<string, number> {
	const counts: Record<string, number> = {};
	for (const { sandbox } of found) counts[sandbox.state] = (counts[sandbox.state] ?? 0) + 1;
	return counts;
}
