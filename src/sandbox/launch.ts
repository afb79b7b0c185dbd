/** From a record to a running sandbox, and back to a host on which nothing of it is left. */
import type { LaunchedSandbox, LaunchSpec } from "../backends/backend.ts";
import { withCleanup } from "../lib/cleanup.ts";
import { ShaleError } from "../lib/errors.ts";
import { MIB } from "../lib/units.ts";
import { momentIn } from "../linux/clock.ts";
import { toNeed } from "./admission.ts";
import { type Core, closeAgent, type Living, save, saveFact, withAgent } from "./core.ts";
import type { Sandbox } from "./types.ts";

export interface LaunchOptions {
	/** True: on the disk upper that there is, which also outlives a failure. */
	readonly keepsUpper: boolean;
}

/** Launches it and notes that it runs; its lifetime and its idle time begin. A failure leaves nothing on the host. */
export function launch(core: Core, living: Living, { keepsUpper }: LaunchOptions): Promise<void> {
	const { sandbox, slot } = living;
	const steps = withCleanup(
		async (cleanup) => {
			const backend = core.getBackend(sandbox.backend);
			const launched = await core.admission.admit(toNeed(sandbox, { keepsUpper }), () =>
				backend.launch({ ...toLaunchSpec(sandbox, slot), keepsUpper }),
			);
			cleanup.add(() => launched.destroy({ keepsUpper }));
			noteRunning(core, living, launched);
		},
		(error) => core.log.error({ err: error, sandbox: sandbox.id }, "undoing a launch failed"),
	);
	return steps.catch((error: unknown) => {
		if (error instanceof ShaleError) throw error;
		throw new ShaleError("internal", `launching sandbox ${sandbox.id}: ${String(error)}`, { cause: error });
	});
}

function noteRunning(core: Core, living: Living, launched: LaunchedSandbox): void {
	const { clock } = core;
	const { lifetimeMs, sandbox } = living.stored;
	save(core, living, {
		state: "running",
		launch: { bootId: clock.bootId, record: launched.record },
		deadline: lifetimeMs === null ? null : momentIn(clock, lifetimeMs),
		activity: sandbox.idleTimeoutMs === null ? null : momentIn(clock, 0),
	});
	living.activity.touch();
	take(core, living, launched);
	// Whoever needs the agent first is told when it cannot be reached.
	withAgent(core, sandbox.id, () => undefined).catch(() => undefined);
}

/** From now on it can be used, and its end is noticed. */
export function take(core: Core, living: Living, launched: LaunchedSandbox): void {
	living.launched = launched;
	core.lifetimes.follow(living);
	void launched.exited.then(({ reason }) => onExit(core, living, { launched, reason }));
}

/** A sandbox that ends by itself keeps its record, with the reason, and its disk upper. */
async function onExit(
	core: Core,
	living: Living,
	{ launched, reason }: { readonly launched: LaunchedSandbox; readonly reason: string },
): Promise<void> {
	const { id, state } = living.sandbox;
	if (living.launched !== launched || living.destroying || state !== "running") return;
	core.log.warn({ sandbox: id, reason }, "sandbox ended");
	saveFact(core, living, { state: "failed", reason, launch: null });
	await removeFromHost(core, living, { keepsUpper: keepsUpper(living.sandbox) }).catch((error: unknown) => {
		core.log.error({ err: error, sandbox: id }, "cleaning up after a sandbox failed");
	});
}

/** Whether what was written in it outlives its processes. */
export function keepsUpper({ upper }: Sandbox): boolean {
	return upper === "disk";
}

/** Ends what runs of it and removes what it has on the host. From any state, repeatable. */
export async function removeFromHost(core: Core, living: Living, options: LaunchOptions): Promise<void> {
	const { launched, sandbox } = living;
	if (launched) await launched.destroy(options);
	else await core.getBackend(sandbox.backend).remove(sandbox.id, options);
	// What comes after needs no connection, and a broken one is nobody's news.
	await closeAgent(living);
	if (living.launched === launched) living.launched = undefined;
}

export function toLaunchSpec({ id, hostname, layers, upper, limits }: Sandbox, slot: number): LaunchSpec {
	return {
		id,
		hostname,
		layers,
		upper,
		slot,
		limits: {
			cpuMillis: limits.cpuMillis,
			memoryBytes: limits.memoryMiB * MIB,
			swapBytes: limits.swapMiB * MIB,
			processes: limits.processes,
			diskBytes: limits.diskMiB * MIB,
		},
	};
}
