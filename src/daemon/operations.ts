/** What the API offers, put together from the parts. */
import { release } from "node:os";
import type { Daemon } from "../api/daemon-operations.ts";
import type { Backend } from "../backends/backend.ts";
import { packageVersion } from "../lib/package-root.ts";
import type { OpenSandboxes } from "../sandbox/sandboxes.ts";
import { checkHost } from "./doctor.ts";
import type { LayerCatalogue } from "./layer-catalogue.ts";
import { formatMetrics } from "./metrics.ts";

export interface OperationsParts {
	readonly sandboxes: OpenSandboxes;
	readonly layers: LayerCatalogue;
	readonly backends: readonly Backend[];
}

export function createOperations({ sandboxes, layers, backends }: OperationsParts): Daemon {
	return {
		sandboxes,
		layers,
		version: { version: packageVersion(), node: process.version, kernel: release() },
		doctor: () => checkHost(backends),
		metrics: async () =>
			formatMetrics([
				{
					name: "shale_sandboxes",
					help: "Sandboxes that live.",
					type: "gauge",
					value: sandboxes.count,
				},
				{
					name: "shale_layers",
					help: "Layers in the store.",
					type: "gauge",
					value: (await layers.list()).length,
				},
				{
					name: "process_resident_memory_bytes",
					help: "Resident memory of the daemon.",
					type: "gauge",
					value: process.memoryUsage.rss(),
				},
				{
					name: "process_cpu_seconds_total",
					help: "CPU time of the daemon.",
					type: "counter",
					value: (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
				},
			]),
	};
}
