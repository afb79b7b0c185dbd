/** Where this package is installed: two folders up from the sources, three from the compiled program. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { errnoCode } from "./errors.ts";

interface Manifest {
	readonly name?: unknown;
	readonly version?: unknown;
}

let found: { readonly root: string; readonly manifest: Manifest } | undefined;

/** The folder of Shale's package.json, from which recipes, native programs and docs are found. */
export function packageRoot(): string {
	return findPackage().root;
}

export function packageVersion(): string {
	const { root, manifest } = findPackage();
	if (typeof manifest.version !== "string") throw new Error(`${join(root, "package.json")} has no version`);
	return manifest.version;
}

function findPackage(): NonNullable<typeof found> {
	for (let folder = import.meta.dirname; !found; folder = dirname(folder)) {
		const manifest = readManifest(join(folder, "package.json"));
		if (manifest?.name === "shale") found = { root: folder, manifest };
		else if (folder === dirname(folder))
			throw new Error(`no package.json of shale above ${import.meta.dirname}`);
	}
	return found;
}

function readManifest(hostPath: string): Manifest | undefined {
	try {
		return JSON.parse(readFileSync(hostPath, "utf8"));
	} catch (error) {
		if (errnoCode(error) === "ENOENT") return undefined;
		throw error;
	}
}
