/**
 * Recipes of kind `debian-base` and `debian-packages`. Both let mmdebstrap(1) install a whole system into a folder;
 * a packages module then keeps what differs from its base. No maintainer script sees our environment, and nothing of
 * the host (its archive, proxies, name, name servers) stays in a layer.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LayerSource } from "../manifest.ts";
import type { DebianBaseRecipe, DebianPackagesRecipe } from "../recipe.ts";
import { runProgram } from "../run-program.ts";
import { evenOutTree, keepDifference } from "../tree.ts";
import { readAptSources } from "./apt-sources.ts";
import { tidyDebianTree } from "./debian-tidy.ts";
import type { BuildContext, BuiltTree } from "./kind.ts";

/** Documentation and translations are two fifths of a minbase, and nobody reads them in a sandbox. */
const EXCLUDED_PATHS = [
	"path-exclude=/usr/share/man/*",
	"path-exclude=/usr/share/info/*",
	"path-exclude=/usr/share/locale/*",
	"path-exclude=/usr/share/doc/*",
	"path-include=/usr/share/doc/*/copyright",
];

/** Where the host's proxies are; all else of our environment is kept from maintainer scripts. */
const PASSED_ENVIRONMENT = /^(https?|ftp|no|all)_proxy$/i;

/** What mmdebstrap says it is doing, and how far that is: measured on a minbase, two cores. */
const MILESTONES: readonly (readonly [start: string, percent: number])[] = [
	["I: running apt-get update", 2],
	["I: downloading packages with apt", 15],
	["I: extracting archives", 35],
	["I: installing essential packages", 45],
	["I: installing remaining packages", 70],
	["I: cleaning package lists", 95],
];

type Packages = Readonly<Record<string, string>>;

export async function buildDebianBase(recipe: DebianBaseRecipe, context: BuildContext): Promise<BuiltTree> {
	const hostFolder = join(context.work, "tree");
	await installDebian(recipe, hostFolder, context);
	const source = debianSource(recipe, await readPackages(hostFolder));
	return { kind: "tree", hostFolder, sources: [source], whiteouts: [] };
}

export async function buildDebianPackages(
	recipe: DebianPackagesRecipe,
	context: BuildContext,
): Promise<BuiltTree> {
	const startedMs = Date.now();
	const base = join(context.work, "base");
	const baseManifest = await context.unpackLayer(recipe.base, base);
	const hostFolder = join(context.work, "tree");
	const packages = [...recipe.baseRecipe.packages, ...recipe.packages];
	await installDebian({ ...recipe.baseRecipe, packages }, hostFolder, context);
	const basePackages = await readPackages(base);
	const added = Object.entries(await readPackages(hostFolder)).filter(
		([name, version]) => basePackages[name] !== version,
	);
	context.onProgress({ step: "compare", message: `what differs from ${recipe.base}` });
	await evenOutTree(hostFolder, startedMs, context.signal);
	const whiteouts = await keepDifference(hostFolder, base, context.signal);
	const baseSource = { kind: "layer", name: baseManifest.name, digest: baseManifest.digest };
	const source = debianSource(recipe.baseRecipe, Object.fromEntries(added));
	return { kind: "tree", hostFolder, sources: [baseSource, source], whiteouts };
}

function debianSource({ suite, variant }: DebianBaseRecipe, packages: Packages): LayerSource {
	return { kind: "debian", suite, variant, packages };
}

async function installDebian(
	{ suite, variant, packages }: Pick<DebianBaseRecipe, "suite" | "variant" | "packages">,
	hostFolder: string,
	{ work, signal, onProgress }: BuildContext,
): Promise<void> {
	const args = ["--mode=root", `--variant=${variant}`, "--format=directory", "--components=main"];
	args.push("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
	// usr-is-merged, as the folders are merged from the start: its alternative brings the whole of Perl along.
	args.push(`--include=${["usr-is-merged", ...packages].join(",")}`);
	args.push(...EXCLUDED_PATHS.map((option) => `--dpkgopt=${option}`));
	args.push(`--aptopt=${await writeAptOptions(work, signal)}`);
	args.push(suite, hostFolder, ...(await writeSources(work, suite)));
	onProgress({ step: "packages", percent: 0 });
	const onLine = (line: string) => {
		const milestone = MILESTONES.find(([start]) => line.startsWith(start));
		if (milestone)
			onProgress({ step: "packages", percent: milestone[1], message: line.replace(/^I: |\.\.\.$/g, "") });
	};
	await runProgram("mmdebstrap", args, {
		signal,
		cwd: work,
		env: debianEnvironment(work),
		onLine,
		isIsolated: true,
	});
	onProgress({ step: "packages", percent: 100 });
	await tidyDebianTree(hostFolder);
}

function debianEnvironment(work: string): NodeJS.ProcessEnv {
	const passed = Object.entries(process.env).filter(([name]) => PASSED_ENVIRONMENT.test(name));
	return {
		...Object.fromEntries(passed),
		PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		HOME: "/root",
		LC_ALL: "C.UTF-8",
		TZ: "UTC",
		DEBIAN_FRONTEND: "noninteractive",
		TMPDIR: work,
	};
}

/** How the host's apt fetches (proxies, retries, checks): its `Acquire` settings, and where it keeps its logins. */
async function writeAptOptions(work: string, signal: AbortSignal | undefined): Promise<string> {
	const acquire = await runProgram("apt-config", ["dump", "Acquire"], { signal });
	const hostPath = join(work, "apt.conf");
	const logins = 'Dir::Etc::netrc "/etc/apt/auth.conf";\nDir::Etc::netrcparts "/etc/apt/auth.conf.d";\n';
	await writeFile(hostPath, acquire + logins, { flag: "wx", mode: 0o600 });
	return hostPath;
}

/** The lists for mmdebstrap; none makes it use the archive that it knows. */
async function writeSources(work: string, suite: string): Promise<string[]> {
	const hostPaths: string[] = [];
	for (const [index, { extension, text }] of (await readAptSources(suite)).entries()) {
		const hostPath = join(work, `apt-${index}.${extension}`);
		await writeFile(hostPath, text, { flag: "wx", mode: 0o600 });
		hostPaths.push(hostPath);
	}
	return hostPaths;
}

/** Name to version of all that dpkg says is installed in the tree. */
async function readPackages(hostFolder: string): Promise<Packages> {
	const status = await readFile(join(hostFolder, "var/lib/dpkg/status"), "utf8");
	const packages: Record<string, string> = {};
	for (const stanza of status.split("\n\n")) {
		const name = /^Package: (.*)$/m.exec(stanza)?.[1];
		const version = /^Version: (.*)$/m.exec(stanza)?.[1];
		if (name && version && /^Status: .* installed$/m.test(stanza)) packages[name] = version;
	}
	return packages;
}
