/** Runs the examples of the pages: every fenced block of `sh`, with the installed program, as a reader would. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "../..");

/** Blocks that set up the machine, take a terminal or last long are marked `sh no-test`. */
function examplesOf(hostPath: string): string[] {
	const blocks = readFileSync(hostPath, "utf8").matchAll(/^```(sh|ts)\n(.*?)^```$/gms);
	return [...blocks].map(([, language, code]) => `${language}\n${code}`);
}

const skip = missingRoot() || missingLayers(...TEST_LAYERS);

describe("the examples", { skip }, () => {
	let daemon: TestDaemon;
	let folder: string;
	before(async () => {
		daemon = await startTestDaemon([...TEST_LAYERS, "100-nodejs24"]);
		folder = mkdtempSync(join(tmpdir(), "shale-docs-"));
	});
	after(async () => {
		await daemon?.stop();
		rmSync(folder, { recursive: true });
	});

	async function runExample(example: string): Promise<void> {
		const [language, code] = [example.slice(0, 2), example.slice(3)];
		const argv =
			language === "sh"
				? ["bash", "-euo", "pipefail", "-c", code.replaceAll("127.0.0.1:7522", daemon.url.slice(7))]
				: [process.execPath, "--input-type=module-typescript", "--eval", code];
		const [program = "", ...args] = argv;
		await run(program, args, {
			cwd: language === "sh" ? folder : ROOT,
			timeout: 60_000,
			env: {
				...process.env,
				PATH: `${join(ROOT, "bin")}:${process.env.PATH}`,
				SHALE_URL: daemon.url,
			},
		});
	}

	for (const hostPath of [join(ROOT, "README.md"), ...globSync(join(ROOT, "docs/*.md")).sort()]) {
		for (const [n, example] of examplesOf(hostPath).entries()) {
			it(`${basename(hostPath)}, example ${n + 1}, works`, async () => {
				await assert.doesNotReject(runExample(example), example);
			});
		}
	}
});
