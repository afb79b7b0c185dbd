/** Extend: another end of a sandbox's lifetime; and what happens at the end. */
import { momentIn } from "../linux/clock.ts";
import { type Core, getRunning, type Living, save, toRecord } from "./core.ts";
import { destroySandbox } from "./destroy.ts";
import { stopSandbox } from "./stop.ts";
import type { Sandbox } from "./types.ts";

/** The lifetime that it has from now on, and again when it is started again. `conflict` unless it runs. */
export async function extendSandbox(core: Core, id: string, lifetimeMs: number | null): Promise<Sandbox> {
	const living = getRunning(core, id);
	const deadline = lifetimeMs === null ? null : momentIn(core.clock, lifetimeMs);
	save(core, living, { lifetimeMs, deadline });
	core.lifetimes.follow(living);
	const sandbox = toRecord(core, living.stored);
	core.events.emit("sandbox.extended", { sandboxId: id, expiresAt: sandbox.expiresAt });
	return sandbox;
}

/** Its time is over. What has begun to end and failed is gone on with. */
export async function endSandbox(core: Core, living: Living, reason: string): Promise<void> {
	const { id, state, onExpiry } = living.sandbox;
	if (state === "running" || state === "failed") {
		core.log.info({ sandbox: id, reason, onExpiry }, "sandbox expired");
		core.events.emit("sandbox.expired", { sandboxId: id, reason });
	}
	if (onExpiry === "stop") await stopSandbox(core, id, reason);
	else await destroySandbox(core, id);
}
