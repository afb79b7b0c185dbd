import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { readAptSources } from "./apt-sources.ts";

async function makeFolder(context: TestContext, files: Record<string, string>): Promise<string> {
	const folder = await mkdtemp(join(tmpdir(), "shale-apt-"));
	context.after(() => rm(folder, { recursive: true }));
	await mkdir(join(folder, "sources.list.d"));
	for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
	return folder;
}

test("of one-line lists, the suite with updates and security stays, cut down to main", async (context) => {
	const folder = await makeFolder(context, {
		"sources.list": [
			"# a comment",
			"deb http://a.example/debian bookworm main contrib # why",
			"deb [arch=amd64 signed-by=/k.gpg] https://b.example/debian-security bookworm-security main",
			"deb http://a.example/debian bookworm-backports main",
			"deb-src http://a.example/debian bookworm main",
			"deb http://c.example/tool bookworm stable",
		].join("\n"),
	});
	assert.deepEqual(await readAptSources("bookworm", folder), [
		{
			extension: "list",
			text:
				"deb http://a.example/debian bookworm main\n" +
				"deb [arch=amd64 signed-by=/k.gpg] https://b.example/debian-security bookworm-security main\n",
		},
	]);
});

test("of deb822 stanzas, the same stays, with keys and other fields as they are", async (context) => {
	const folder = await makeFolder(context, {
		"sources.list.d/debian.sources": [
			"Types: deb deb-src",
			"# the mirror",
			"URIs: http://a.example/debian",
			"Suites: bookworm bookworm-updates bookworm-backports",
			"Components: main non-free",
			"Signed-By:",
			" -----BEGIN PGP PUBLIC KEY BLOCK-----",
			" .",
			" abc",
			"",
			"Types: deb",
			"URIs: http://c.example/",
			"Suites: bookworm",
			"Components: stable",
			"",
			"Enabled: no",
			"Types: deb",
			"URIs: http://d.example/",
			"Suites: bookworm",
			"Components: main",
		].join("\n"),
		"sources.list.d/other.sources.disabled":
			"Types: deb\nURIs: http://e.example\nSuites: bookworm\nComponents: main",
	});
	assert.deepEqual(await readAptSources("bookworm", folder), [
		{
			extension: "sources",
			text: [
				"Types: deb",
				"Suites: bookworm bookworm-updates",
				"Components: main",
				"URIs: http://a.example/debian",
				"Signed-By:",
				" -----BEGIN PGP PUBLIC KEY BLOCK-----",
				" .",
				" abc",
				"",
			].join("\n"),
		},
	]);
});

test("a host without apt, or without this suite, has no sources", async (context) => {
	assert.deepEqual(await readAptSources("bookworm", "/nonexistent"), []);
	const folder = await makeFolder(context, { "sources.list": "deb http://a.example/ubuntu noble main" });
	assert.deepEqual(await readAptSources("bookworm", folder), []);
});
