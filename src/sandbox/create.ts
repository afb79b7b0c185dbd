/** Create: reserve the record, launch, begin to talk to the agent. A failure at any step leaves nothing behind. */
import { createHash } from "node:crypto";
import { ShaleError } from "../lib/errors.ts";
import { type Core, Living, notRunning, toRecord } from "./core.ts";
import { launch } from "./launch.ts";
import { resolveSandbox } from "./resolve.ts";
import { takeStep } from "./steps.ts";
import type { CreateSandbox, Sandbox } from "./types.ts";

/** The same request again, under an id that the client chose, gets the sandbox that the first one made. */
export async function createSandbox(core: Core, request: CreateSandbox): Promise<Sandbox> {
	const digest = toDigest(request);
	const twin = request.id === undefined ? undefined : core.living.get(request.id);
	if (twin) return await follow(core, twin, digest);
	const sandbox = resolve(core, request);
	core.getBackend(sandbox.backend);
	const living = reserve(core, sandbox, { digest, lifetimeMs: request.lifetimeMs ?? null });
	await takeStep(living, "create", () => launchReserved(core, living));
	return toRecord(core, living.stored);
}

/** The whole sandbox that a request stands for; nothing is made. */
export function resolve(core: Core, request: CreateSandbox): Sandbox {
	return resolveSandbox(request, {
		machine: core.machine,
		defaultBackend: core.defaultBackend,
		defaultLayers: request.layers ? [] : core.layers.defaultStack(),
		toStack: (names) => core.layers.toStack(names),
		now: new Date(core.clock.wallMs()),
	});
}

async function follow(core: Core, twin: Living, digest: string): Promise<Sandbox> {
	const { id } = twin.sandbox;
	if (twin.stored.digest !== digest) {
		throw new ShaleError(
			"conflict",
			`creating the sandbox: the id ${id} is taken by one of another request`,
			{
				hint: "Choose another one, or destroy the sandbox that has it.",
				details: { taken: "id", id },
			},
		);
	}
	if (twin.destroying) throw notRunning(twin);
	if (twin.step?.name === "create") await twin.step.done;
	return toRecord(core, twin.stored);
}

/** Equal for requests that ask for the same, whatever the order of their fields. */
export function toDigest(request: CreateSandbox): string {
	return createHash("sha256").update(JSON.stringify(request, sortKeys)).digest("hex");
}

function sortKeys(_key: string, value: unknown): unknown {
	if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
	return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Takes id, name and slot before anything is made, so that of two unequal requests one is refused. */
function reserve(
	core: Core,
	sandbox: Sandbox,
	made: { readonly digest: string; readonly lifetimeMs: number | null },
): Living {
	const slot = core.slots.take();
	const stored = { sandbox, slot, ...made, deadline: null, activity: null, launch: null };
	try {
		core.store.insert(stored);
	} catch (error) {
		core.slots.giveBack(slot);
		throw error;
	}
	const living = new Living(stored, core.clock);
	core.living.set(sandbox.id, living);
	return living;
}

async function launchReserved(core: Core, living: Living): Promise<void> {
	core.events.emit("sandbox.created", { sandboxId: living.sandbox.id });
	try {
		await launch(core, living, { keepsUpper: false });
	} catch (error) {
		forget(core, living);
		throw error;
	}
}

/** As if it had never been asked for. */
function forget(core: Core, living: Living): void {
	const { id } = living.sandbox;
	core.living.delete(id);
	core.slots.giveBack(living.slot);
	core.events.emit("sandbox.destroyed", { sandboxId: id, reason: "its creation failed" });
	try {
		core.store.remove(id);
	} catch (error) {
		core.log.error({ err: error, sandbox: id }, "the record of a failed create could not be removed");
	}
}
