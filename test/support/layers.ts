/** The layers that `npm run verify` builds into the ordinary store, for tests to use read-only. */
import { copyFileSync, existsSync, linkSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { errnoCode } from "../../src/lib/errors.ts";

const STORE = "/var/lib/shale/layers";

export function layerHostPath(name: string): string {
	return join(STORE, `${name}.squashfs`);
}

/** Why a test that needs these layers cannot run here, or false: for node:test's `skip`. */
export function missingLayers(...names: readonly string[]): string | false {
	const missing = names.filter((name) => !existsSync(layerHostPath(name)));
	if (missing.length === 0) return false;
	const reason = `needs the layers ${missing.join(", ")}: run \`npm run verify\``;
	if (process.env.SHALE_TEST_MUST_RUN) throw new Error(`SHALE_TEST_MUST_RUN is set, but this test ${reason}`);
	return reason;
}

/** Makes a store of these layers, by hard links where both folders are on one file system. */
export function linkLayers(hostFolder: string, names: readonly string[]): void {
	mkdirSync(hostFolder, { recursive: true });
	for (const file of readdirSync(STORE)) {
		if (names.some((name) => file === `${name}.json` || file === `${name}.squashfs`)) {
			linkOrCopy(join(STORE, file), join(hostFolder, file));
		}
	}
}

function linkOrCopy(from: string, to: string): void {
	try {
		linkSync(from, to);
	} catch (error) {
		if (errnoCode(error) !== "EXDEV") throw error;
		copyFileSync(from, to);
	}
}
