/** The daemon: opens its parts in order, serves, and closes them in reverse. */
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { ID_RANGE_SIZE } from "../backends/namespace/launch-plan.ts";
import { NamespaceBackend } from "../backends/namespace/namespace-backend.ts";
import { probeIdMapping } from "../backends/namespace/probe.ts";
import { BackendRegistry } from "../backends/registry.ts";
import { LayerMounts } from "../layers/mounts.ts";
import { type LayerStore, openLayerStore } from "../layers/store.ts";
import { type CleanupStack, withCleanup } from "../lib/cleanup.ts";
import { ShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { packageRoot } from "../lib/package-root.ts";
import { detectCgroups, parentsOf, prepareCgroups } from "../linux/cgroups.ts";
import { type Clock, openClock } from "../linux/clock.ts";
import { ResidentJailer } from "../linux/resident-jailer.ts";
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

/** Ends of user-namespace ids below 2^31: some programs take uids as signed numbers. */
const LAST_ID = 0x7fff_ffff;

export function startDaemon(options: DaemonOptions): Promise<RunningDaemon> {
	return withCleanup(
		(cleanup) => open(options, cleanup),
		(error) => options.log.error({ err: error }, "closing a part of the daemon failed"),
	);
}

async function open(options: DaemonOptions, cleanup: CleanupStack): Promise<RunningDaemon> {
	const { config, log, idleExit, clock = openClock() } = options;
	const paths = daemonPaths(config);
	await makeFolders([paths.uppers, paths.jailer, paths.sockets]);
	// The database first: its lock keeps a second daemon from touching anything.
	const store = new SandboxStore(paths.database);
	cleanup.add(() => store.close());
	const layerStore = await openLayerStore(paths.layers);
	const { jailer, mounts, backend } = await openBackend({ config, layerStore, log }, cleanup);
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
		slots: Math.floor((LAST_ID - config.idsStart) / ID_RANGE_SIZE),
		machine: readMachine(config.data),
		log,
		clock,
		events,
		admission: { thresholds: config, host },
		resources: [layerSource(layerStore)],
	});
	cleanup.add(() => sandboxes.close());
	const operations = createOperations({ sandboxes, layers, backends: [backend], events, log });
	const isBusy = () => sandboxes.count > 0 || layers.isBuilding;
	const server = await listen({ config, operations, log, idleExit, isBusy });
	cleanup.add(() => server.close());
	return {
		url: server.url,
		failed: jailer.closed.then(() => new Error("the jailer died")),
		async stop() {
			await close(cleanup, log);
			return sandboxes.count;
		},
	};
}

async function makeFolders(hostPaths: readonly string[]): Promise<void> {
	for (const hostPath of hostPaths) {
		try {
			await mkdir(hostPath, { recursive: true, mode: 0o700 });
		} catch (error) {
			throw new ShaleError("unavailable", `making the folder ${hostPath}: ${String(error)}`, {
				hint: "The daemon must be able to write to the folders that SHALE_DATA and SHALE_RUN name.",
				cause: error,
			});
		}
	}
}

interface BackendNeeds {
	readonly config: Config;
	readonly layerStore: LayerStore;
	readonly log: Log;
}

/** The jailer, the layers that it mounts, and the backend that is made of both. */
async function openBackend({ config, layerStore, log }: BackendNeeds, cleanup: CleanupStack) {
	const paths = daemonPaths(config);
	const { jailer: jailerPath, agent: agentPath, emptyImage: emptyImageHostPath } = findNativePrograms();
	const cgroups = await prepareCgroups(await detectCgroups({ parent: cgroupParent(config.data) }));
	const jailer = await ResidentJailer.start({
		jailerPath,
		agentPath,
		runDir: paths.jailer,
		allow: [config.run, paths.uppers],
		cgroups: [...parentsOf(cgroups)],
		onDeath: (error) => log.error({ err: error }, "the jailer died"),
	});
	cleanup.add(() => jailer.close());
	const mounts = new LayerMounts((ops) => jailer.run(ops), { store: layerStore });
	const { idsStart, run: runHostPath } = config;
	const backend = new NamespaceBackend({
		jailer,
		mounts,
		cgroups,
		folders: { sockets: paths.sockets, uppers: paths.uppers, layers: paths.layers, run: config.run },
		idsStart,
		idMapping: await probeIdMapping({ jailer, cgroups, emptyImageHostPath, runHostPath, idsStart }),
		log,
	});
	cleanup.add(() => backend.close());
	return { jailer, mounts, backend };
}

/** Two daemons on one host never touch each other's cgroups: each has a parent named after its data folder. */
function cgroupParent(dataHostPath: string): string {
	return join("shale", createHash("sha256").update(dataHostPath).digest("hex").slice(0, 12));
}

async function close(cleanup: CleanupStack, log: Log): Promise<void> {
	for (const error of await cleanup.run()) log.error({ err: error }, "closing a part of the daemon failed");
}
