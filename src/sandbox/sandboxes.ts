/** The core as one object: the operations bound to one store and its backends, and their start and end. */
import type { Backend } from "../backends/backend.ts";
import type { Log } from "../lib/log.ts";
import {
	type Core,
	type CoreLayers,
	closeAgent,
	getRecord,
	getRunning,
	Slots,
	toLaunchSpec,
} from "./core.ts";
import { createSandbox, resolve } from "./create.ts";
import { destroySandbox } from "./destroy.ts";
import { execInSandbox } from "./exec.ts";
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
import type { SandboxStore } from "./store.ts";
import type { Sandboxes } from "./types.ts";

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
}

export interface OpenSandboxes extends Sandboxes {
	/** How many live. */
	readonly count: number;
	/** Destroys all. Every one is tried; the errors are logged. */
	close(): Promise<void>;
}

/** Removes what an earlier daemon left, then takes requests. */
export async function openSandboxes(options: SandboxesOptions): Promise<OpenSandboxes> {
	const core: Core = {
		store: options.store,
		layers: options.layers,
		log: options.log,
		living: new Map(),
		slots: new Slots(options.slots),
		getBackend: (name) => options.backends.get(name),
		defaultBackend: options.backends.default,
		machine: options.machine,
	};
	await removeRemains(core, options.backends.list());
	return bind(core);
}

/** After a crash no sandbox of the earlier daemon is taken over: each is removed and its record closed. */
async function removeRemains(core: Core, backends: readonly Backend[]): Promise<void> {
	for (const backend of backends) await backend.removeOrphans(new Set());
	for (const { sandbox } of core.store.listLiving()) {
		core.log.warn({ sandbox: sandbox.id }, "removed what an earlier daemon left");
		core.store.setState(sandbox.id, "destroyed");
	}
}

function bind(core: Core): OpenSandboxes {
	return {
		get count() {
			return core.living.size;
		},
		create: (request) => createSandbox(core, request),
		get: (id) => getRecord(core, id),
		list: (query) => core.store.list(query),
		destroy: (id) => destroySandbox(core, id),
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
		close: () => destroyAll(core),
	};
}

async function explainExisting(core: Core, id: string): Promise<string> {
	const sandbox = getRecord(core, id);
	const slot = core.living.get(id)?.slot ?? 0;
	return core.getBackend(sandbox.backend).explain(toLaunchSpec(sandbox, slot));
}

async function destroyAll(core: Core): Promise<void> {
	const ends = [...core.living.keys()].map((id) => destroySandbox(core, id));
	for (const end of await Promise.allSettled(ends)) {
		if (end.status === "rejected") core.log.error({ err: end.reason }, "destroying a sandbox failed");
	}
	// Of those that could not be destroyed: an open connection would keep this process.
	for (const living of core.living.values()) await closeAgent(living);
}
