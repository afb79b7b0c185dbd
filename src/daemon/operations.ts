/** What the API offers, put together from the parts. */
import { release } from "node:os";
import type { Daemon } from "../api/daemon-operations.ts";
import { sandboxState } from "../api/schemas/sandboxes.ts";
import type { Backend } from "../backends/backend.ts";
import type { Log } from "../lib/log.ts";
import { packageVersion } from "../lib/package-root.ts";
import type { CgroupLayout } from "../linux/cgroups.ts";
import { SCARCE } from "../sandbox/admission.ts";
import { EVENT_TYPES, type EventLog } from "../sandbox/events.ts";
import { RESOURCE_KINDS } from "../sandbox/inventory.ts";
import type { OpenSandboxes } from "../sandbox/sandboxes.ts";
import { checkHost } from "./doctor.ts";
import type { LayerCatalogue } from "./layer-catalogue.ts";
import { byLabel, type Figure, formatMetrics } from "./metrics.ts";

export interface OperationsParts {
	readonly sandboxes: OpenSandboxes;
	readonly layers: LayerCatalogue;
	readonly backends: readonly Backend[];
	readonly cgroups: CgroupLayout;
	readonly events: EventLog;
	readonly log: Log;
}

export function createOperations(parts: OperationsParts): Daemon {
	const { sandboxes, layers, backends, cgroups, events } = parts;
	return {
		sandboxes,
		layers,
		version: { version: packageVersion(), node: process.version, kernel: release() },
		events,
		collectGarbage: (options) => sandboxes.inventory.collect(options),
		doctor: () => checkHost(backends, cgroups),
		metrics: async () =>
			formatMetrics([
				...sandboxFigures(parts),
				...(await leakFigures(parts)),
				...(await daemonFigures(layers)),
			]),
	};
}

function sandboxFigures({ sandboxes, events }: OperationsParts): Figure[] {
	const counts = sandboxes.countByState();
	return [
		{
			name: "shale_sandboxes",
			help: "Sandboxes by state.",
			type: "gauge",
			samples: byLabel(
				"state",
				sandboxState.options.filter((state) => state !== "destroyed"),
				(state) => counts.get(state) ?? 0,
			),
		},
		{
			name: "shale_events_total",
			help: "Events since the daemon started, by type.",
			type: "counter",
			samples: byLabel("type", EVENT_TYPES, (type) => events.count(type)),
		},
		{
			name: "shale_admission_refusals_total",
			help: "Sandboxes that were refused for want of a resource of the host.",
			type: "counter",
			samples: byLabel("resource", SCARCE, (resource) => sandboxes.admission.countRefusals(resource)),
		},
	];
}

/** None when the host could not be looked at: that is not the same as no leaks. */
async function leakFigures({ sandboxes, log }: OperationsParts): Promise<Figure[]> {
	try {
		const counts = await sandboxes.inventory.countLeaks();
		return [
			{
				name: "shale_leaked_resources",
				help: "Things on the host that nobody owns, by kind.",
				type: "gauge",
				samples: byLabel("kind", RESOURCE_KINDS, (kind) => counts.get(kind) ?? 0),
			},
		];
	} catch (error) {
		log.error({ err: error }, "looking for what nobody owns failed");
		return [];
	}
}

async function daemonFigures(layers: LayerCatalogue): Promise<Figure[]> {
	const { user, system } = process.cpuUsage();
	return [
		{
			name: "shale_layers",
			help: "Layers in the store.",
			type: "gauge",
			samples: [{ value: (await layers.list()).length }],
		},
		{
			name: "process_resident_memory_bytes",
			help: "Resident memory of the daemon.",
			type: "gauge",
			samples: [{ value: process.memoryUsage.rss() }],
		},
		{
			name: "process_cpu_seconds_total",
			help: "CPU time of the daemon.",
			type: "counter",
			samples: [{ value: (user + system) / 1e6 }],
		},
	];
}
