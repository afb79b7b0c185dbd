import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { NamespaceBackend } from "../../src/backends/namespace/namespace-backend.ts";
import { findNativePrograms } from "../../src/daemon/native-programs.ts";
import { LayerMounts } from "../../src/layers/mounts.ts";
import { openLayerStore } from "../../src/layers/store.ts";
import { createLog } from "../../src/lib/log.ts";
import { detectCgroups, parentsOf, prepareCgroups } from "../../src/linux/cgroups.ts";
import { ResidentJailer } from "../../src/linux/resident-jailer.ts";
import { missingIdMapping } from "../support/id-mapping.ts";
import { linkLayers, missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";
import { type BackendFixture, testBackend } from "./backend-contract.ts";
import { testBackendRecovery } from "./backend-recovery.ts";

const LAYERS = ["000-base-debian"];
const skip = missingRoot() || missingLayers(...LAYERS);

const options = { skip: skip || (await missingIdMapping()), open: () => open(true) };
testBackend("namespace", options);
testBackendRecovery("namespace", options);
// As on kernels that cannot map the owners of squashfs layers.
testBackend("namespace, without user namespaces", { skip, open: () => open(false) });

async function open(hasIdMapping: boolean): Promise<BackendFixture> {
	const folder = mkdtempSync(join(tmpdir(), "shale-contract-"));
	linkLayers(join(folder, "layers"), LAYERS);
	for (const name of ["sockets", "uppers", "jailer"]) mkdirSync(join(folder, name));
	let side = await openDaemonSide(folder, hasIdMapping);
	return {
		get backend() {
			return side.backend;
		},
		layers: LAYERS,
		async restart() {
			killJailers(folder);
			await side.jailer.close();
			side = await openDaemonSide(folder, hasIdMapping);
		},
		killHelper: () => killJailers(folder),
		async close() {
			await side.backend.close();
			await side.jailer.close();
			rmSync(folder, { recursive: true });
		},
	};
}

/** What dies with a daemon. */
async function openDaemonSide(folder: string, hasIdMapping: boolean) {
	const { jailer: jailerPath, agent: agentPath } = findNativePrograms();
	const cgroups = await prepareCgroups(await detectCgroups({ parent: join("shale", basename(folder)) }));
	const jailer = await ResidentJailer.start({
		jailerPath,
		agentPath,
		runDir: join(folder, "jailer"),
		cgroups: [...parentsOf(cgroups)],
		restartsPerMinute: 1000,
	});
	const layers = join(folder, "layers");
	const backend = new NamespaceBackend({
		jailer,
		mounts: new LayerMounts((ops) => jailer.run(ops), { store: await openLayerStore(layers) }),
		cgroups,
		folders: { sockets: join(folder, "sockets"), uppers: join(folder, "uppers"), layers, run: folder },
		idsStart: 0x7200_0000,
		idMapping: hasIdMapping ? { ok: true } : { ok: false, why: "the test says so" },
		log: createLog("fatal"),
	});
	return { jailer, backend };
}

/** By pid, those of this test alone. */
function killJailers(folder: string): void {
	const children = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ");
	for (const pid of children.filter((child) => child !== "")) {
		const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
		if (argv.includes(join(folder, "jailer"))) process.kill(Number(pid), "SIGKILL");
	}
}
