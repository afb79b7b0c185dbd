/** What makes code hard to read and is easy to count. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { it } from "node:test";

const ROOT = join(import.meta.dirname, "../..");

/** A file that needs more has two subjects. */
const MAX_LINES = 400;

/** Names that say nothing about what is inside, so that everything ends up there. */
const EMPTY_NAMES = ["utils", "util", "helpers", "helper", "manager", "common", "misc"];

const typescript = find("src/**/*.ts", "sdk/**/*.ts", "test/**/*.ts", "bench/**/*.ts", "scripts/**/*.ts");
const native = find("native/**/*.c", "native/**/*.h");

function find(...patterns: string[]): string[] {
	return patterns
		.flatMap((pattern) => globSync(pattern, { cwd: ROOT }))
		.filter((file) => !/(^|\/)(node_modules|dist|build)\//.test(file))
		.sort();
}

function read(file: string): string {
	return readFileSync(join(ROOT, file), "utf8");
}

/** `file:line` of every line that matches. */
function linesWith(files: readonly string[], pattern: RegExp): string[] {
	return files.flatMap((file) =>
		read(file)
			.split("\n")
			.flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}`] : [])),
	);
}

it("there is something to look at", () => {
	assert.ok(typescript.length > 50);
});

it("no file is longer than a reader can keep in mind", () => {
	const long = [...typescript, ...native].flatMap((file) => {
		const lines = read(file).trimEnd().split("\n").length;
		return lines > MAX_LINES ? [`${file}: ${lines} lines`] : [];
	});
	assert.deepEqual(long, []);
});

it("file names are kebab-case and say what is inside", () => {
	const isGood = (file: string) => {
		const name = basename(file).replace(/(\.test)?\.(ts|c|h)$/, "");
		return (
			/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name) && !name.split("-").some((word) => EMPTY_NAMES.includes(word))
		);
	};
	assert.deepEqual(
		[...typescript, ...native].filter((file) => !isGood(file)),
		[],
	);
});

it("nothing is left to do in a comment", () => {
	const marks = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|");
	assert.deepEqual(linesWith([...typescript, ...native], new RegExp(`\\b(${marks})\\b`)), []);
});

it("no type is given up: no `any`, no suppressed error", () => {
	const anyType = /(:|\bas|<|\||&|=>|\bextends)\s*any\b(?!\s*[a-z])|\bany\[\]/;
	const suppressed = new RegExp(["@ts", "(ignore|nocheck|expect-error)"].join("-"));
	const code = (file: string) => !file.startsWith("test/style/");
	assert.deepEqual(linesWith(typescript.filter(code), suppressed), []);
	const found = linesWith(typescript.filter(code), anyType);
	assert.deepEqual(
		found.filter((place) => !isComment(place)),
		[],
	);
});

it("modules export by name", () => {
	assert.deepEqual(linesWith(typescript, /^export default\b/), []);
});

function isComment(place: string): boolean {
	const [file = "", line = "0"] = place.split(":");
	return /^\s*(\*|\/\/|\/\*)/.test(read(file).split("\n")[Number(line) - 1] ?? "");
}
