/** The import direction: each area knows only what is to the left of it, so that it can be read without the rest. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { it } from "node:test";

const ROOT = join(import.meta.dirname, "../..");

/** Areas of src/, lowest first. Those of one line do not know each other. */
const LAYERS: readonly (readonly string[])[] = [
	["lib"],
	["linux"],
	["agent", "layers", "network"],
	["oci"],
	["backends"],
	["sandbox"],
	["functions"],
	["api", "dialects"],
	["daemon"],
];

/**
 * The CLI is a client. These verbs are the program itself, and load it only when they are called; the settings
 * load the daemon's parser only when there is a file to parse.
 */
const VERBS_OF_THE_DAEMON = ["src/cli/verbs/serve.ts", "src/cli/verbs/doctor.ts", "src/cli/settings.ts"];

interface Import {
	readonly from: string;
	/** Path below the repository, or the specifier of a package. */
	readonly to: string;
	/** `import("…")`, which is evaluated when it is reached. */
	readonly lazy: boolean;
}

const files = ["src", "sdk/src"].flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: ROOT })).sort();

function importsOf(file: string): Import[] {
	const text = readFileSync(join(ROOT, file), "utf8");
	const matches = text.matchAll(
		/^(?:import|export|\})[^;"]*?from "([^"]+)"|^import "([^"]+)"|\bimport\("([^"]+)"\)/gm,
	);
	return [...matches].map(([, from, bare, lazy]) => {
		const specifier = from ?? bare ?? lazy ?? "";
		const to = specifier.startsWith(".") ? relative(ROOT, join(ROOT, dirname(file), specifier)) : specifier;
		return { from: file, to, lazy: lazy !== undefined };
	});
}

const imports = files.flatMap(importsOf);
const isTest = (file: string): boolean => file.endsWith(".test.ts");

/** `linux` for `src/linux/plan.ts`; undefined outside src/ and for src/main.ts. */
function areaOf(file: string): string | undefined {
	return /^src\/([^/]+)\//.exec(file)?.[1];
}

function rankOf(area: string): number {
	return LAYERS.findIndex((areas) => areas.includes(area));
}

function list(wrong: readonly Import[]): string[] {
	return wrong.map(({ from, to }) => `${from} imports ${to}`);
}

it("every folder of src has its place in the import direction", () => {
	assert.ok(imports.length > 200, "the imports were not found");
	const areas = new Set(files.map(areaOf).filter((area) => area !== undefined && area !== "cli"));
	assert.deepEqual(
		[...areas].filter((area) => rankOf(area ?? "") === -1),
		[],
	);
});

it("imports go one way, from the daemon down to lib", () => {
	const wrong = imports.filter(({ from, to }) => {
		const [source, target] = [areaOf(from), areaOf(to)];
		if (source === undefined || target === undefined || source === "cli" || source === target) return false;
		return target === "cli" || rankOf(target) >= rankOf(source);
	});
	assert.deepEqual(list(wrong), []);
});

it("the CLI is a client: only the SDK and lib, apart from the verbs that are the daemon", () => {
	const wrong = imports.filter(({ from, to, lazy }) => {
		if (areaOf(from) !== "cli" || !to.startsWith("src/")) return false;
		if (["cli", "lib"].includes(areaOf(to) ?? "")) return false;
		const isOwnProgram = VERBS_OF_THE_DAEMON.includes(from) && areaOf(to) === "daemon" && lazy;
		return !isOwnProgram;
	});
	assert.deepEqual(list(wrong.filter(({ from }) => !isTest(from))), []);
});

it("no backend imports another", () => {
	const backendOf = (file: string) => /^src\/backends\/([^/]+)\//.exec(file)?.[1];
	const wrong = imports.filter(({ from, to }) => {
		const [source, target] = [backendOf(from), backendOf(to)];
		return source !== undefined && target !== undefined && source !== target;
	});
	assert.deepEqual(list(wrong), []);
});

it("the SDK stands alone: its own files and Node's", () => {
	const wrong = imports.filter(
		({ from, to }) => from.startsWith("sdk/") && !to.startsWith("sdk/src/") && !to.startsWith("node:"),
	);
	assert.deepEqual(list(wrong.filter(({ from }) => !isTest(from))), []);
});

it("nothing but tests imports from test/", () => {
	const wrong = imports.filter(({ from, to }) => !isTest(from) && /^(test|bench)\//.test(to));
	assert.deepEqual(list(wrong), []);
});

it("only linux/ starts the native programs", () => {
	const starters = imports
		.filter(({ from, to }) => to === "node:child_process" && areaOf(from) !== "linux" && !isTest(from))
		.map(({ from }) => from);
	const wrong = starters.filter((file) =>
		/native|jailer|agentPath/i.test(readFileSync(join(ROOT, file), "utf8")),
	);
	assert.deepEqual(wrong, []);
});
