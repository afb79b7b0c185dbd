/** The daemon: opens its parts in order, serves, and closes them in reverse. */
import { join } from "node:path";
import { NamespaceBackend } from "../backends/namespace/namespace-backend.ts";
import { probeIdMapping } from "../backends/namespace/probe.ts";
import { BackendRegistry } from "../backends/registry.ts";
import { LayerMounts } from "../layers/mounts.ts";
import { type LayerStore, openLayerStore } from "../layers/store.ts";
import { type CleanupStack, withCleanup } from "../lib/cleanup.ts";
import type { Log } from "../lib/log.ts";
import { packageRoot } from "../lib/package-root.ts";
import { type Clock, openClock } from "../linux/clock.ts";
import { EventLog } from "../sandbox/events.ts";
import { readMachine } from "../sandbox/machine.ts";
import { layerSource } from "../sandbox/resource-sources.ts";
import { openSandboxes } from "../sandbox/sandboxes.ts";
import { SandboxStore } from "../sandbox/store.ts";
import { type Config, daemonPaths } from "./config.ts";
import { DiskGuard } from "./disk-guard.ts";
import { hostReadings } from "./host-readings.ts";
import { LayerCatalogue } from "./layer-catalogue.ts";
import { listen } from "./listen.ts";
import { findNativePrograms } from "./native-programs.ts";
import { createOperations } from "./operations.ts";
import { countSlots, openPrivileged, type Privileged } from "./privileged.ts";

export interface RunningDaemon {
	readonly url: string;
	/** Resolves when a part that the daemon cannot go on without has died. */
	readonly failed: Promise<Error>;
	/** Gives everything back but the sandboxes, which live on. Resolves with how many do. */
	stop(): Promise<number>;
}

export interface DaemonOptions {
	readonly config: Config;
	readonly log: Log;
	/** Called when it has been idle this long, see idle-exit.ts. */
	readonly idleExit?: { readonly afterMs: number; readonly onIdle: () => void } | undefined;
	/** Default: the host's. */
	readonly clock?: Clock;
}

export function startDaemon(options: DaemonOptions): Promise<RunningDaemon> {
	return withCleanup(
		(cleanup) => open(options, cleanup),
		(error) => options.log.error({ err: error }, "closing a part of the daemon failed"),
	);
}

async function open(options: DaemonOptions, cleanup: CleanupStack): Promise<RunningDaemon> {
	const { config, log, idleExit, clock = openClock() } = options;
	const paths = daemonPaths(config);
	const privileged = await openPrivileged({ config, log }, cleanup);
	const { jailer, cgroups } = privileged;
	// The database before all else: its lock keeps a second daemon from touching anything.
	const store = new SandboxStore(paths.database);
	cleanup.add(() => store.close());
	const layerStore = await openLayerStore(paths.layers);
	const { mounts, backend } = await openBackend({ config, layerStore, log, privileged }, cleanup);
	const host = hostReadings(config);
	const layers = new LayerCatalogue({
		store: layerStore,
		mounts,
		recipeFolders: [paths.recipes, join(packageRoot(), "recipes")],
		defaultLayers: config.defaultLayers,
		diskGuard: new DiskGuard({ readFreeMiB: host.diskMiB, minFreeMiB: config.minFreeDiskMiB }),
	});
	const events = new EventLog();
	const sandboxes = await openSandboxes({
		store,
		layers,
		backends: new BackendRegistry(backend),
		slots: countSlots(config),
		machine: readMachine(config.data),
		log,
		clock,
		events,
		admission: { thresholds: config, host },
		resources: [layerSource(layerStore)],
	});
	cleanup.add(() => sandboxes.close());
	const operations = createOperations({ sandboxes, layers, backends: [backend], cgroups, events, log });
	const isBusy = () => sandboxes.count > 0 || layers.isBuilding;
	const server = await listen({ config, operations, log, idleExit, isBusy });
	cleanup.add(() => server.close());
	return {
		url: server.url,
		failed: jailer.closed.then(() => jailer.failure ?? new Error("the jailer has ended")),
		async stop() {
			await close(cleanup, log);
			return sandboxes.count;
		},
	};
}

interface BackendNeeds {
	readonly config: Config;
	readonly layerStore: LayerStore;
	readonly log: Log;
	readonly privileged: Privileged;
}

/** The layers that the jailer mounts, and the backend that is made of both. */
async function openBackend(
	{ config, layerStore, log, privileged: { jailer, cgroups } }: BackendNeeds,
	cleanup: CleanupStack,
) {
	const { sockets, uppers, layers } = daemonPaths(config);
	const mounts = new LayerMounts((ops) => jailer.run(ops), { store: layerStore });
	const { idsStart } = config;
	const { emptyImage: emptyImageHostPath } = findNativePrograms();
	const idMapping = await probeIdMapping({
		jailer,
		cgroups,
		emptyImageHostPath,
		folderHostPath: uppers,
		idsStart,
		isNeeded: config.user !== undefined,
	});
	const folders = { sockets, uppers, layers, run: config.run };
	const backend = new NamespaceBackend({ jailer, mounts, cgroups, folders, idsStart, idMapping, log });
	cleanup.add(() => backend.close());
	return { mounts, backend };
}

async function close(cleanup: CleanupStack, log: Log): Promise<void> {
	for (const error of await cleanup.run()) log.error({ err: error }, "closing a part of the daemon failed");
}
