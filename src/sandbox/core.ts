/**
 * What the operations share: the store of what should exist, the backends, and the sandboxes that live now.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { AgentError } from "../agent/agent-error.ts";
import { AgentConnection } from "../agent/connection.ts";
import type { Backend, LaunchedSandbox, LaunchSpec } from "../backends/backend.ts";
import { type ErrorCode, ShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { MIB } from "../lib/units.ts";
import type { Admission } from "./admission.ts";
import type { Machine } from "./resolve.ts";
import type { SandboxStore } from "./store.ts";
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
	readonly living: Map<string, Living>;
	readonly slots: Slots;
	/** Throws `invalid_argument` for a name that is no backend. */
	getBackend(name: string): Backend;
	readonly defaultBackend: string;
	readonly machine: Machine;
	readonly admission: Admission;
}

/** A sandbox between the start of its creation and the end of its destruction. */
export interface Living {
	/** As the store has it; changed by {@link setState} alone. */
	sandbox: Sandbox;
	readonly slot: number;
	/** Settles when the creation has ended, either way. Never rejects. */
	created: Promise<void>;
	launched: LaunchedSandbox | undefined;
	agent: Promise<AgentConnection> | undefined;
	destroying: Promise<void> | undefined;
}

/** Notes a step of a sandbox's life, here and in the store. */
export function setState(
	core: Core,
	living: Living,
	state: SandboxState,
	reason: string | null = null,
): void {
	core.store.setState(living.sandbox.id, state, reason);
	living.sandbox = { ...living.sandbox, state, reason };
}

/** The sandbox's record; throws `not_found` also for one that is destroyed. */
export function getRecord(core: Core, id: string): Sandbox {
	const sandbox = findRecord(core, id);
	if (!sandbox) throw unknownSandbox(id);
	return sandbox;
}

function findRecord(core: Core, id: string): Sandbox | undefined {
	const sandbox = core.living.get(id)?.sandbox ?? core.store.find(id)?.sandbox;
	return sandbox?.state === "destroyed" ? undefined : sandbox;
}

export function unknownSandbox(id: string): ShaleError {
	return new ShaleError("not_found", `there is no sandbox ${id}`, {
		hint: "`shale ls` lists the sandboxes.",
	});
}

/** Runs `call` with the running sandbox's agent, connecting again when the last connection was lost. */
export async function withAgent<T>(
	core: Core,
	id: string,
	call: (agent: AgentConnection) => T | Promise<T>,
): Promise<T> {
	const living = getRunning(core, id);
	try {
		living.agent ??= connectAgent(living, living.launched);
		return await call(await living.agent);
	} catch (error) {
		throw await toCallError(core, id, error);
	}
}

/** The sandbox if processes can run in it; throws `not_found`, or `conflict` with its state. */
export function getRunning(core: Core, id: string): Running {
	const living = core.living.get(id);
	if (!living || !isRunning(living)) throw notRunning(core, id);
	return living;
}

type Running = Living & { readonly launched: LaunchedSandbox };

function isRunning(living: Living): living is Running {
	return living.launched !== undefined && !living.destroying && living.sandbox.state !== "failed";
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
};

/** A lost connection is mostly the first sign of a sandbox's end; the news of it follows within this time. */
const END_NEWS_MS = 500;

/** What a failed call to a sandbox's agent means for the caller; other errors stay as they are. */
export async function toCallError(core: Core, id: string, error: unknown): Promise<unknown> {
	if (!(error instanceof AgentError)) return error;
	const message = `sandbox ${id}: ${error.message}`;
	if (error.errnoName !== undefined) {
		return new ShaleError(REFUSALS[error.errnoName] ?? "internal", message, { cause: error });
	}
	const living = core.living.get(id);
	if (living && isRunning(living)) await Promise.race([living.launched.exited, sleep(END_NEWS_MS)]);
	if (living && isRunning(living)) return new ShaleError("unavailable", message, { cause: error });
	return notRunning(core, id);
}

function notRunning(core: Core, id: string): ShaleError {
	const sandbox = findRecord(core, id);
	if (!sandbox) return unknownSandbox(id);
	const { state, reason } = sandbox;
	return new ShaleError("conflict", `sandbox ${id} is ${state}${reason ? `: ${reason}` : ""}`, {
		hint: state === "failed" ? "Destroy it and create it again." : "Wait until it is running.",
		details: { state },
	});
}

async function connectAgent(living: Living, launched: LaunchedSandbox): Promise<AgentConnection> {
	const forget = () => {
		living.agent = undefined;
	};
	try {
		const connection = AgentConnection.open(await launched.connect());
		void connection.closed.then(forget);
		return connection;
	} catch (error) {
		forget();
		throw error;
	}
}

/** Ends the connection, if there is one or will be; the agent notices nothing but a client that has left. */
export async function closeAgent(living: Living): Promise<void> {
	const connection = await living.agent?.catch(() => undefined);
	connection?.close();
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

/** Hands out the lowest free number below `count`; two living sandboxes never share one. */
export class Slots {
	readonly #taken = new Set<number>();
	readonly #count: number;

	constructor(count: number) {
		this.#count = count;
	}

	take(): number {
		for (let slot = 0; slot < this.#count; slot++) {
			if (this.#taken.has(slot)) continue;
			this.#taken.add(slot);
			return slot;
		}
		throw new ShaleError("resource_exhausted", `all ${this.#count} ranges of user ids are in use`, {
			hint: "Destroy sandboxes that are not needed.",
		});
	}

	giveBack(slot: number): void {
		this.#taken.delete(slot);
	}
}
