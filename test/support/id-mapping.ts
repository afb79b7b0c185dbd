/** Whether this kernel gives each sandbox user ids of its own; those before Linux 6.2 do not (squashfs). */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type IdMapping, probeIdMapping } from "../../src/backends/namespace/probe.ts";
import { findNativePrograms } from "../../src/daemon/native-programs.ts";
import { Jailer } from "../../src/linux/jailer.ts";

const IDS_START = 0x7300_0000;

let found: Promise<IdMapping> | undefined;

/** Tried once in a test process. */
export function findIdMapping(): Promise<IdMapping> {
	found ??= probe();
	return found;
}

/** For node:test's `skip`. No requirement of the suite: sandboxes without are tested on such kernels instead. */
export async function missingIdMapping(): Promise<string | false> {
	if (process.getuid?.() !== 0) return "needs root";
	const mapping = await findIdMapping();
	return mapping.ok ? false : `needs ids of its own: ${mapping.why}`;
}

async function probe(): Promise<IdMapping> {
	const runDir = mkdtempSync(join(tmpdir(), "shale-ids-"));
	const { jailer: jailerPath, agent: agentPath, emptyImage: emptyImageHostPath } = findNativePrograms();
	const jailer = await Jailer.start({ jailerPath, agentPath, runDir });
	try {
		return await probeIdMapping({ jailer, emptyImageHostPath, folderHostPath: runDir, idsStart: IDS_START });
	} finally {
		await jailer.close();
		rmSync(runDir, { recursive: true });
	}
}
