/**
 * Recipes of kind `npm`: exact versions of packages, fetched by the host's npm client with the host's npm
 * configuration, checked against the integrity in the recipe. No script of a package runs.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, copyFile, cp, lstat, mkdir, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { errnoCode, ShaleError } from "../../lib/errors.ts";
import type { LayerSource } from "../manifest.ts";
import type { NpmRecipe } from "../recipe.ts";
import { runProgram } from "../run-program.ts";
import { makeFolders, walkTree } from "../tree.ts";
import type { BuildContext, BuiltTree } from "./kind.ts";

type Package = NpmRecipe["packages"][number];

/** The part of what `npm pack --json` prints that we use. */
const packedSchema = z.array(z.object({ filename: z.string() })).length(1);

export async function buildNpm(
	recipe: NpmRecipe,
	{ work, signal, onProgress }: BuildContext,
): Promise<BuiltTree> {
	const tree = join(work, "tree");
	await makeFolders(tree, "/");
	const sources: LayerSource[] = [];
	for (const [index, item] of recipe.packages.entries()) {
		const percent = Math.floor((index / recipe.packages.length) * 100);
		onProgress({ step: "packages", percent, message: `${item.name} ${item.version}` });
		const tarball = await fetchPackage(item, join(work, `package-${index}`), signal);
		const unpacked = join(work, `unpacked-${index}`);
		await unpackPackage(tarball, unpacked, signal);
		for (const file of item.files) await copyInto(tree, file.to, join(unpacked, file.from), item);
		await rm(unpacked, { recursive: true });
		sources.push({ kind: "npm", name: item.name, version: item.version, integrity: item.integrity });
	}
	await evenOutModes(tree, signal);
	for (const { path, target } of recipe.links) {
		await symlink(target, join(await makeFolders(tree, dirname(path)), basename(path)));
	}
	return { kind: "tree", hostFolder: tree, sources, whiteouts: [] };
}

async function fetchPackage(
	item: Package,
	hostFolder: string,
	signal: AbortSignal | undefined,
): Promise<string> {
	await mkdir(hostFolder);
	const args = [
		"pack",
		"--json",
		"--ignore-scripts",
		"--pack-destination",
		hostFolder,
		`${item.name}@${item.version}`,
	];
	// Its own folder as working folder: npm shall not take a project that we happen to be started in for its own.
	const printed = await runProgram("npm", args, { signal, cwd: hostFolder });
	const [packed] = packedSchema.parse(JSON.parse(printed));
	const tarball = join(hostFolder, basename(packed?.filename ?? ""));
	const hash = createHash("sha512");
	await pipeline(createReadStream(tarball), hash);
	const found = `sha512-${hash.digest("base64")}`;
	if (found === item.integrity) return tarball;
	throw new ShaleError(
		"layer_damaged",
		`npm package ${item.name} ${item.version} is not what the recipe expects`,
		{
			hint: "The registry serves other content than when the recipe was written; do not use it before you know why.",
			details: { package: item.name, expected: item.integrity, found },
		},
	);
}

async function unpackPackage(
	tarball: string,
	hostFolder: string,
	signal: AbortSignal | undefined,
): Promise<void> {
	await mkdir(hostFolder);
	const args = ["--extract", "--gzip", "--file", tarball, "--directory", hostFolder, "--strip-components=1"];
	await runProgram("tar", [...args, "--no-same-owner", "--no-same-permissions"], { signal });
	// SECURITY: npm never packs links. One that a package brings could make us copy a file of the host into a layer.
	await walkTree(hostFolder, async (path, kind) => {
		if (kind === "folder" || kind === "file") return;
		throw new ShaleError(
			"layer_damaged",
			`${basename(tarball)} holds ${path}, which is neither a file nor a folder`,
		);
	});
}

async function copyInto(tree: string, guestPath: string, from: string, item: Package): Promise<void> {
	const target = join(await makeFolders(tree, dirname(guestPath)), basename(guestPath));
	try {
		if ((await lstat(from)).isDirectory()) await cp(from, target, { recursive: true });
		else await copyFile(from, target);
	} catch (error) {
		if (errnoCode(error) !== "ENOENT") throw error;
		throw new ShaleError(
			"invalid_argument",
			`npm package ${item.name} ${item.version} has no ${basename(from)}`,
		);
	}
}

/** As npm does when it installs: files 0644, or 0755 when the package says they are programs. */
async function evenOutModes(tree: string, signal: AbortSignal | undefined): Promise<void> {
	await walkTree(
		tree,
		async (path) => {
			const { mode } = await lstat(join(tree, path));
			await chmod(join(tree, path), (mode & 0o100) === 0 ? 0o644 : 0o755);
		},
		signal,
	);
}
