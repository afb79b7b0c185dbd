import assert from "node:assert/strict";
import { test } from "node:test";
import { editDistance, nearest } from "./nearest.ts";
import { toBar } from "./progress.ts";
import { toLoopbackListen } from "./settings.ts";
import { formatAge, formatTable, toPrintable, toShellWords } from "./table.ts";

test("columns are as wide as their widest cell and lines have no trailing spaces", () => {
	const table = formatTable(
		["A", "LONG"],
		[
			["wide", "x"],
			["y", ""],
		],
	);
	assert.equal(table, "A     LONG\nwide  x\ny\n");
});

test("control characters are not printed", () => {
	assert.equal(toPrintable("a\u001b[31m\u009b1m\nb\u007f"), "a?[31m?1m?b?");
});

test("an age is told in one unit", () => {
	const now = new Date("2026-01-10T00:00:00Z");
	const ages = [
		"2026-01-09T23:59:55Z",
		"2026-01-09T23:48:00Z",
		"2026-01-09T20:00:00Z",
		"2026-01-01T00:00:00Z",
	];
	assert.deepEqual(
		ages.map((since) => formatAge(since, now)),
		["5s", "12m", "4h", "9d"],
	);
	assert.equal(formatAge("2026-01-11T00:00:00Z", now), "0s");
});

test("words are quoted only where a shell would change them", () => {
	assert.equal(toShellWords(["ls", "-l", "a b", "it's", "", "$x"]), "ls -l 'a b' 'it'\\''s' '' '$x'");
});

test("the nearest word is suggested, but none that is far", () => {
	const verbs = ["run", "exec", "inspect", "layers"];
	assert.equal(nearest("inpsect", verbs), "inspect");
	assert.equal(nearest("rn", verbs), "run");
	assert.equal(nearest("layer", verbs), "layers");
	assert.equal(nearest("frobnicate", verbs), undefined);
	assert.equal(editDistance("ab", "ba"), 1);
	assert.equal(editDistance("", "abc"), 3);
});

test("a bar shows its part, and none when the part is unknown", () => {
	assert.equal(
		toBar("x", { step: "s", percent: 50, message: "m" }),
		`x ${"█".repeat(12)}${"░".repeat(12)}  50% s: m`,
	);
	assert.equal(toBar("x", { step: "s" }), "x s …");
	assert.ok(toBar("x", { step: "s", percent: 900 }).includes("100%"));
});

test("a daemon is started only for plain http on this machine", () => {
	assert.equal(toLoopbackListen("http://127.0.0.1:7522"), "127.0.0.1:7522");
	assert.equal(toLoopbackListen("http://localhost:80/"), "127.0.0.1:80");
	assert.equal(toLoopbackListen("http://[::1]:1"), "[::1]:1");
	assert.equal(toLoopbackListen("https://127.0.0.1:1"), undefined);
	assert.equal(toLoopbackListen("http://127.0.0.1.example.org:1"), undefined);
	assert.equal(toLoopbackListen("http://10.0.0.1:1"), undefined);
});
