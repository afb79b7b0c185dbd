import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startTestDaemon, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

const BASE = "000-base-debian";

/** What each runtime's module runs, with a little of what makes it that runtime. */
const RUNTIMES = [
	{
		layer: "100-python3",
		argv: ["python3", "-c", "import json, ssl; print(json.dumps({'six': 6*7}))"],
		stdout: '{"six": 42}\n',
	},
	{
		layer: "100-nodejs24",
		argv: ["node", "-e", "console.log(process.version.split('.')[0], 6*7)"],
		stdout: "v24 42\n",
	},
	{ layer: "100-nodejs24", argv: ["npm", "--version"], stdout: /^11\./ },
	{ layer: "100-bun", argv: ["bun", "-e", "console.log(typeof Bun, 6*7)"], stdout: "object 42\n" },
	{ layer: "100-deno", argv: ["deno", "eval", "console.log(typeof Deno, 6*7)"], stdout: "object 42\n" },
] as const;

const skip = missingRoot() || missingLayers(BASE, ...RUNTIMES.map(({ layer }) => layer));

describe("runtimes from their modules", { skip }, () => {
	let daemon: TestDaemon;
	before(async () => {
		daemon = await startTestDaemon([BASE, ...new Set(RUNTIMES.map(({ layer }) => layer))]);
	});
	after(() => daemon?.stop());

	for (const { layer, argv, stdout } of RUNTIMES) {
		it(`${layer} runs ${argv[0]}`, async () => {
			const id = await daemon.create({ layers: [BASE, layer] });
			const result = await daemon.exec(id, argv);
			if (typeof stdout === "string") assert.equal(result.stdout, stdout, String(result.stderr));
			else assert.match(String(result.stdout), stdout);
			assert.equal(result.exitCode, 0);
		});
	}
});
