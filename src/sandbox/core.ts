/**
 * What the operations share: the store of what should exist, the backends, and every sandbox that is not destroyed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { AgentError } from "../agent/agent-error.ts";
import { AgentConnection } from "../agent/connection.ts";
import type { Backend, LaunchedSandbox } from "../backends/backend.ts";
import { type ErrorCode, ShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { type Clock, toIsoTime } from "../linux/clock.ts";
import { Activity } from "./activity.ts";
import type { Admission } from "./admission.ts";
import type { EventLog, EventType } from "./events.ts";
import type { Lifetimes } from "./lifetimes.ts";
import type { Machine } from "./resolve.ts";
import type { Slots } from "./slots.ts";
import type { Step } from "./steps.ts";
import type { SandboxStore, StoredSandbox } from "./store.ts";
import type { Sandbox, SandboxState } from "./types.ts";

export interface CoreLayers {
	/** Puts names in order, checks that each layer exists; throws `invalid_argument` or `not_found`. */
	toStack(names: readonly string[]): readonly string[];
	/** What a sandbox gets when it names no layers. */
	defaultStack(): readonly string[];
}

export interface Core {
	readonly store: SandboxStore;
	readonly layers: CoreLayers;
	readonly log: Log;
	readonly clock: Clock;
	readonly events: Pick<EventLog, "emit">;
	readonly living: Map<string, Living>;
	readonly slots: Slots;
	readonly lifetimes: Lifetimes;
	/** Throws `invalid_argument` for a name that is no backend. */
	getBackend(name: string): Backend;
	readonly defaultBackend: string;
	readonly machine: Machine;
	readonly admission: Admission;
}

/** A sandbox between the start of its creation and the end of its destruction. */
export class Living {
	/** As the store has it; changed by {@link save} and {@link saveFact} alone. */
	stored: StoredSandbox;
	readonly activity: Activity;
	/** The step that is under way, see steps.ts. */
	step: Step | undefined;
	/** From its launch until nothing of that is left on the host. */
	launched: LaunchedSandbox | undefined;
	agent: Promise<AgentConnection> | undefined;
	destroying: Promise<void> | undefined;

	constructor(stored: StoredSandbox, clock: Clock) {
		this.stored = stored;
		const { idleTimeoutMs } = stored.sandbox;
		this.activity = new Activity(clock, { idleTimeoutMs, last: stored.activity });
	}

	get sandbox(): Sandbox {
		return this.stored.sandbox;
	}

	get slot(): number {
		return this.stored.slot;
	}
}

export type Changes = Partial<Omit<StoredSandbox, "sandbox" | "slot" | "digest">> & {
	readonly state?: SandboxState;
	readonly reason?: string | null;
};

const STATE_EVENTS: Readonly<Partial<Record<SandboxState, EventType>>> = {
	running: "sandbox.running",
	stopped: "sandbox.stopped",
	failed: "sandbox.failed",
	destroyed: "sandbox.destroyed",
};

/** Notes a step of a sandbox's life in the store and then here. When the store throws, nothing has changed. */
export function save(core: Core, living: Living, changes: Changes): void {
	const next = toNext(living.stored, changes);
	core.store.save(next);
	setStored(core, living, next);
}

/** Notes what has happened already, also when the store cannot: the next save catches up, or the next start. */
export function saveFact(core: Core, living: Living, changes: Changes): void {
	const next = toNext(living.stored, changes);
	try {
		core.store.save(next);
	} catch (error) {
		core.log.error({ err: error, sandbox: living.sandbox.id }, "a sandbox's record could not be written");
	}
	setStored(core, living, next);
}

function toNext(stored: StoredSandbox, { state, reason, ...rest }: Changes): StoredSandbox {
	const next = { ...stored, ...rest };
	const expiresAt = next.deadline && new Date(next.deadline.wallMs).toISOString();
	const told = state === undefined ? {} : { state, reason: reason ?? null };
	return { ...next, sandbox: { ...stored.sandbox, ...told, expiresAt } };
}

function setStored(core: Core, living: Living, next: StoredSandbox): void {
	const { state } = living.sandbox;
	living.stored = next;
	const { id: sandboxId, reason } = next.sandbox;
	const type = STATE_EVENTS[next.sandbox.state];
	if (type && next.sandbox.state !== state) core.events.emit(type, { sandboxId, ...(reason && { reason }) });
}

/** The sandbox as its users see it now; throws `not_found` also for one that is destroyed. */
export function getRecord(core: Core, id: string): Sandbox {
	return toRecord(core, getLiving(core, id).stored);
}

/** Throws `not_found`. */
export function getLiving(core: Core, id: string): Living {
	const living = core.living.get(id);
	if (!living) throw unknownSandbox(id);
	return living;
}

export function toRecord({ clock }: Core, { sandbox, deadline }: StoredSandbox): Sandbox {
	return deadline ? { ...sandbox, expiresAt: toIsoTime(clock, deadline) } : sandbox;
}

export function unknownSandbox(id: string): ShaleError {
	return new ShaleError("not_found", `there is no sandbox ${id}`, {
		hint: "`shale ls` lists the sandboxes.",
	});
}

/**
 * Runs `call` with the running sandbox's agent, connecting again when the last connection was lost. The sandbox is not
 * idle meanwhile, and a call that succeeds has used it.
 */
export async function withAgent<T>(
	core: Core,
	id: string,
	call: (agent: AgentConnection) => T | Promise<T>,
): Promise<T> {
	const living = getRunning(core, id);
	const release = living.activity.hold();
	try {
		living.agent ??= connectAgent(living, living.launched);
		const result = await call(await living.agent);
		noteActivity(core, living);
		return result;
	} catch (error) {
		throw await toCallError(core, id, error);
	} finally {
		release();
	}
}

/** For what lasts longer than a call, such as a reader: the sandbox is not idle until the returned function is called. */
export function holdActive(core: Core, id: string): () => void {
	const living = core.living.get(id);
	if (!living) return () => undefined;
	const release = living.activity.hold();
	let isHeld = true;
	return () => {
		if (!isHeld) return;
		isHeld = false;
		release();
		noteActivity(core, living);
	};
}

function noteActivity(core: Core, living: Living): void {
	if (living.activity.touch()) saveActivity(core, living);
}

/** Writes down when it was last used. */
export function saveActivity(core: Core, living: Living): void {
	const activity = living.activity.takeUnsaved();
	if (activity && core.living.get(living.sandbox.id) === living) saveFact(core, living, { activity });
}

/** The sandbox if processes can run in it; throws `not_found`, or `conflict` with its state. */
export function getRunning(core: Core, id: string): Running {
	const living = getLiving(core, id);
	if (!isRunning(living)) throw notRunning(living);
	return living;
}

type Running = Living & { readonly launched: LaunchedSandbox };

export function isRunning(living: Living): living is Running {
	return living.launched !== undefined && !living.destroying && living.sandbox.state === "running";
}

/** What the agent refuses, by errno. */
const REFUSALS: Readonly<Record<string, ErrorCode>> = {
	ENOENT: "invalid_argument",
	EINVAL: "invalid_argument",
	EEXIST: "conflict",
	EBUSY: "conflict",
	EPIPE: "conflict",
	ESRCH: "conflict",
	EAGAIN: "resource_exhausted",
	ENOMEM: "resource_exhausted",
	EMFILE: "resource_exhausted",
	ETIMEDOUT: "timeout",
};

/** A lost connection is mostly the first sign of a sandbox's end; the news of it follows within this time. */
const END_NEWS_MS = 500;

/** What a failed call to a sandbox's agent means for the caller; other errors stay as they are. */
export async function toCallError(core: Core, id: string, error: unknown): Promise<unknown> {
	if (!(error instanceof AgentError)) return error;
	const message = `sandbox ${id}: ${error.message}`;
	if (error.isOtherVersion) {
		return new ShaleError("unavailable", message, {
			hint: "Another version of Shale started it: stop and start it, or destroy it and create it again.",
			cause: error,
		});
	}
	if (error.errnoName !== undefined) {
		return new ShaleError(REFUSALS[error.errnoName] ?? "internal", message, { cause: error });
	}
	const living = core.living.get(id);
	if (!living) return unknownSandbox(id);
	if (isRunning(living)) await Promise.race([living.launched.exited, sleep(END_NEWS_MS)]);
	if (isRunning(living)) return new ShaleError("unavailable", message, { cause: error });
	return core.living.get(id) === living ? notRunning(living) : unknownSandbox(id);
}

/** What a client can do about a sandbox that is not running. */
function toHint(state: SandboxState, { id, upper }: Sandbox): string | undefined {
	if (state === "creating" || state === "starting") return "Wait until it is running.";
	if (state === "stopping") return `Start it again when it has stopped: shale start ${id}`;
	if (state === "stopped") return `Start it: shale start ${id}`;
	if (state !== "failed") return undefined;
	return upper === "disk" ? `Its disk upper is kept: shale start ${id}` : "Destroy it and create it again.";
}

/** A `conflict` that says what state it is in, why, and what to do. */
export function notRunning({ sandbox, destroying }: Living): ShaleError {
	const { id, reason } = sandbox;
	const state = destroying ? "destroying" : sandbox.state;
	const hint = toHint(state, sandbox);
	return new ShaleError("conflict", `sandbox ${id} is ${state}${reason ? `: ${reason}` : ""}`, {
		...(hint === undefined ? {} : { hint }),
		details: { state },
	});
}

function connectAgent(living: Living, launched: LaunchedSandbox): Promise<AgentConnection> {
	const forget = () => {
		if (living.agent === connecting) living.agent = undefined;
	};
	const connecting = launched.connect().then((stream) => {
		const connection = AgentConnection.open(stream);
		void connection.closed.then(forget);
		return connection;
	});
	connecting.catch(forget);
	return connecting;
}

/** Ends the connection, if there is one or will be; the agent notices nothing but a client that has left. */
export async function closeAgent(living: Living): Promise<void> {
	const connection = await living.agent?.catch(() => undefined);
	connection?.close();
}
