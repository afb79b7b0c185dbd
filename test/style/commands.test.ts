/** The verbs of `shale` are the same in the table, on disk, in docs/cli.md and in the completion scripts. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type CommandNode, readCommandTree, SHELLS, toCompletionScript } from "../../src/cli/completion.ts";
import { VERBS } from "../../src/cli/verbs.ts";
import { packageRoot } from "../../src/lib/package-root.ts";

const names = VERBS.map(({ name }) => name);

/** The text below each `## shale VERB` of docs/cli.md. */
async function readSections(): Promise<ReadonlyMap<string, string>> {
	const text = await readFile(join(packageRoot(), "docs/cli.md"), "utf8");
	const sections = text.split(/^## /m).slice(1);
	return new Map(sections.map((section) => [section.split("\n", 1)[0] ?? "", section]));
}

test("docs/cli.md has a section for each verb, in the order of the help", async () => {
	const titles = [...(await readSections()).keys()].filter((title) => title.startsWith("shale "));
	assert.deepEqual(
		titles,
		names.map((name) => `shale ${name}`),
	);
});

test("each verb is a file of its own", async () => {
	const files = await readdir(join(packageRoot(), "src/cli/verbs"));
	assert.deepEqual(files.toSorted(), names.map((name) => `${name}.ts`).toSorted());
});

test("each option is told in its verb's section, or in a section that it points to", async () => {
	const sections = await readSections();
	for (const { name, options, words } of await readCommandTree()) {
		const section = sections.get(`shale ${name}`) ?? "";
		const linked = [...section.matchAll(/\]\(#([\w-]+)\)/g)].map(([, anchor]) => anchor);
		const texts = [...sections].filter(([title]) =>
			linked.includes(title.toLowerCase().replaceAll(" ", "-")),
		);
		const told = [section, ...texts.map(([, text]) => text)].join("\n");
		for (const { flags } of [...options, ...words.flatMap((word) => word.options)]) {
			const flag = flags.at(-1) ?? "";
			if (flag !== "--help") assert.match(told, new RegExp(`${flag}\\b`), `${flag} of shale ${name}`);
		}
	}
});

test("each verb's options, with its help, are completed in every shell", async () => {
	const tree = await readCommandTree();
	const flagsOf = (node: CommandNode): string[] => node.options.flatMap(({ flags }) => flags);
	assert.deepEqual(
		tree.map(({ name }) => name),
		names,
	);
	for (const shell of SHELLS) {
		const script = toCompletionScript(shell, tree);
		for (const node of tree) {
			assert.match(script, new RegExp(`\\b${node.name}\\b`));
			assert.ok(flagsOf(node).includes("--help"), node.name);
			for (const flag of flagsOf(node).filter((flag) => flag.startsWith("--"))) {
				const form = shell === "fish" ? `-l ${flag.slice(2)}` : flag;
				assert.ok(script.includes(form), `${shell}: ${flag} of ${node.name}`);
			}
		}
	}
});
