import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { NamespaceBackend } from "../../src/backends/namespace/namespace-backend.ts";
import { findNativePrograms } from "../../src/daemon/native-programs.ts";
import { LayerMounts } from "../../src/layers/mounts.ts";
import { openLayerStore } from "../../src/layers/store.ts";
import { createLog } from "../../src/lib/log.ts";
import { detectCgroups, prepareCgroups } from "../../src/linux/cgroups.ts";
import { Jailer } from "../../src/linux/jailer.ts";
import { missingIdMapping } from "../support/id-mapping.ts";
import { linkLayers, missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";
import { type BackendFixture, testBackend } from "./backend-contract.ts";

const LAYERS = ["000-base-debian"];
const skip = missingRoot() || missingLayers(...LAYERS);

testBackend("namespace", { skip: skip || (await missingIdMapping()), open: () => open(true) });
// As on kernels that cannot map the owners of squashfs layers.
testBackend("namespace, without user namespaces", { skip, open: () => open(false) });

async function open(hasIdMapping: boolean): Promise<BackendFixture> {
	const folder = mkdtempSync(join(tmpdir(), "shale-contract-"));
	const [socketsHostPath, uppersHostPath, runDir] = ["sockets", "uppers", "jailer"].map((name) => {
		mkdirSync(join(folder, name));
		return join(folder, name);
	}) as [string, string, string];
	linkLayers(join(folder, "layers"), LAYERS);
	const { jailer: jailerPath, agent: agentPath } = findNativePrograms();
	const jailer = await Jailer.start({ jailerPath, agentPath, runDir });
	const backend = new NamespaceBackend({
		jailer,
		mounts: new LayerMounts((ops) => jailer.run(ops), {
			store: await openLayerStore(join(folder, "layers")),
		}),
		cgroups: await prepareCgroups(await detectCgroups({ parent: join("shale", basename(folder)) })),
		socketsHostPath,
		uppersHostPath,
		idsStart: 0x7200_0000,
		idMapping: hasIdMapping ? { ok: true } : { ok: false, why: "the test says so" },
		log: createLog("error"),
	});
	return {
		backend,
		layers: LAYERS,
		async close() {
			await backend.close();
			await jailer.close();
			rmSync(folder, { recursive: true });
		},
	};
}
