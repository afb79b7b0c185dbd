import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { readCommandTree, toCompletionScript } from "./completion.ts";

const script = toCompletionScript("bash", await readCommandTree());

/** What bash offers for the last of these words. */
function complete(...words: readonly string[]): string[] {
	const call = `COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shale; printf "%s\\n" "\${COMPREPLY[@]}"`;
	const offered = execFileSync("bash", ["--norc", "-c", `${script}\n${call}`, "bash", "shale", ...words]);
	return offered.toString().trim().split("\n");
}

test("bash completes verbs, their options and their own words", () => {
	assert.deepEqual(complete("in"), ["inspect"]);
	assert.deepEqual(complete("run", "--me"), ["--memory"]);
	assert.deepEqual(complete("exec", "--timeout", "5s", "--ti"), ["--timeout"]);
	assert.deepEqual(complete("layers", "b"), ["build"]);
	assert.deepEqual(complete("layers", "ls", "--rec"), ["--recipes"]);
	assert.deepEqual(complete("completion", "z"), ["zsh"]);
	assert.deepEqual(complete("help", "doc"), ["doctor"]);
});

test("bash leaves what follows -- to its file names", () => {
	assert.deepEqual(complete("run", "--", "--me"), [""]);
	assert.deepEqual(complete("exec", "box", "--", "l"), [""]);
});
