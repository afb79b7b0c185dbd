/** The core as one object: the operations bound to one store and its backends, and their start and end. */
import type { Backend } from "../backends/backend.ts";
import type { Log } from "../lib/log.ts";
import { type Clock, openClock } from "../linux/clock.ts";
import { Admission, type AdmissionOptions, UNLIMITED } from "./admission.ts";
import { adoptAll } from "./adopt.ts";
import {
	type Core,
	type CoreLayers,
	closeAgent,
	getLiving,
	getRecord,
	getRunning,
	saveActivity,
	toRecord,
} from "./core.ts";
import { createSandbox, resolve } from "./create.ts";
import { destroySandbox } from "./destroy.ts";
import { EventLog } from "./events.ts";
import { execInSandbox } from "./exec.ts";
import { endSandbox, extendSandbox } from "./extend.ts";
import { openFiles } from "./files.ts";
import { Inventory, type ResourceSource } from "./inventory.ts";
import { toLaunchSpec } from "./launch.ts";
import { Lifetimes } from "./lifetimes.ts";
import {
	attachProcess,
	closeStdin,
	getProcess,
	listProcesses,
	removeProcess,
	resizeTerminal,
	signalProcess,
	startDetached,
	startProcess,
	writeStdin,
} from "./processes.ts";
import type { Machine } from "./resolve.ts";
import { backendSource, recordSource } from "./resource-sources.ts";
import { Slots } from "./slots.ts";
import { startAgain } from "./start.ts";
import { settled } from "./steps.ts";
import { stopSandbox } from "./stop.ts";
import type { SandboxStore, StoredSandbox } from "./store.ts";
import type { ListSandboxes, Sandboxes, SandboxPage, SandboxState } from "./types.ts";

export interface SandboxesOptions {
	readonly store: SandboxStore;
	readonly layers: CoreLayers;
	readonly backends: {
		get(name: string): Backend;
		list(): readonly Backend[];
		readonly default: string;
	};
	/** How many sandboxes can live at once: one range of user ids each. */
	readonly slots: number;
	readonly machine: Machine;
	readonly log: Log;
	/** Default: those of this daemon alone. */
	readonly events?: EventLog;
	/** Default: the host's. */
	readonly clock?: Clock;
	/** Default: everything is let in. */
	readonly admission?: Omit<AdmissionOptions, "countSandboxes">;
	/** What else there may be on the host that nobody owns. */
	readonly resources?: readonly ResourceSource[];
}

export interface OpenSandboxes extends Sandboxes {
	/** How many run, or are on their way to it or from it. */
	readonly count: number;
	readonly admission: Admission;
	readonly inventory: Inventory;
	/** How many there are in each state; states without any are left out. */
	countByState(): ReadonlyMap<SandboxState, number>;
	/** Lets go of all; they live on. Waits for what is half-done. */
	close(): Promise<void>;
}

/** Takes over what an earlier daemon left, then takes requests. */
export async function openSandboxes(options: SandboxesOptions): Promise<OpenSandboxes> {
	const { store, layers, backends, machine, log, events = new EventLog(), clock = openClock() } = options;
	const { admission = UNLIMITED, resources = [] } = options;
	const living: Core["living"] = new Map();
	const lifetimes = new Lifetimes({
		clock,
		living,
		end: (one, reason) => endSandbox(core, one, reason),
		onActive: (one) => saveActivity(core, one),
		log,
	});
	const core: Core = {
		store,
		layers,
		log,
		clock,
		events,
		living,
		admission: new Admission({ ...admission, countSandboxes: () => countActive(core) }),
		slots: new Slots(options.slots),
		lifetimes,
		getBackend: (name) => backends.get(name),
		defaultBackend: backends.default,
		machine,
	};
	await adoptAll(core, backends.list());
	lifetimes.sweep();
	const sources = [...backends.list().map(backendSource), recordSource(store), ...resources];
	return bind(core, new Inventory({ sources, sandboxes: living, events, log }));
}

function bind(core: Core, inventory: Inventory): OpenSandboxes {
	return {
		inventory,
		admission: core.admission,
		countByState: () => countByState(core),
		get count() {
			return countActive(core);
		},
		create: (request) => createSandbox(core, request),
		get: (id) => getRecord(core, id),
		list: (query) => listSandboxes(core, query),
		destroy: (id) => destroySandbox(core, id),
		files: openFiles(core),
		stop: (id) => stopSandbox(core, id),
		startAgain: (id) => startAgain(core, id),
		extend: (id, lifetimeMs) => extendSandbox(core, id, lifetimeMs),
		exec: (id, request, { signal } = {}) => execInSandbox(core, id, { ...request, signal }),
		start: (id, request) => startProcess(core, id, request),
		startDetached: (id, request) => startDetached(core, id, request),
		attach: (id, processId, from) => attachProcess(core, id, { processId, ...from }),
		writeStdin: (id, processId, chunk) => writeStdin(core, id, { processId, chunk }),
		closeStdin: (id, processId) => closeStdin(core, id, processId),
		listProcesses: (id) => listProcesses(core, id),
		getProcess: (id, processId) => getProcess(core, id, processId),
		signalProcess: (id, processId, target) => signalProcess(core, id, { processId, ...target }),
		resizeTerminal: (id, processId, size) => resizeTerminal(core, id, { processId, size }),
		removeProcess: (id, processId) => removeProcess(core, id, processId),
		stats: async (id) => getRunning(core, id).launched.stats(),
		explain: async (request) => {
			const sandbox = resolve(core, request);
			return core.getBackend(sandbox.backend).explain(toLaunchSpec(sandbox, 0));
		},
		explainExisting: (id) => explainExisting(core, id),
		close: () => close(core),
	};
}

function countActive(core: Core): number {
	let count = 0;
	for (const { sandbox } of core.living.values()) {
		if (sandbox.state !== "stopped" && sandbox.state !== "failed") count++;
	}
	return count;
}

function listSandboxes(core: Core, query: ListSandboxes): SandboxPage {
	const { sandboxes, cursor } = core.store.list(query);
	// What the store could not be told is known here.
	const toNewest = (stored: StoredSandbox) =>
		stored.sandbox.state === "destroyed" ? stored : (core.living.get(stored.sandbox.id)?.stored ?? stored);
	return { sandboxes: sandboxes.map((stored) => toRecord(core, toNewest(stored))), cursor };
}

function countByState(core: Core): ReadonlyMap<SandboxState, number> {
	const counts = new Map<SandboxState, number>();
	for (const { sandbox } of core.living.values()) {
		counts.set(sandbox.state, (counts.get(sandbox.state) ?? 0) + 1);
	}
	return counts;
}

async function explainExisting(core: Core, id: string): Promise<string> {
	const { sandbox, slot } = getLiving(core, id);
	return core.getBackend(sandbox.backend).explain(toLaunchSpec(sandbox, slot));
}

async function close(core: Core): Promise<void> {
	core.lifetimes.close();
	const all = [...core.living.values()];
	await Promise.all(all.flatMap(({ step, destroying }) => [settled(step?.done), settled(destroying)]));
	for (const living of all) {
		if (living.activity.isHeld) living.activity.touch();
		saveActivity(core, living);
	}
	await Promise.all(all.map(closeAgent));
}
