/**
 * Runs all tests, or the files given, and then the leak check: whatever of Shale the host has more of than
 * before the run is a failure.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { takeInventory, waitForNoLeaks } from "./support/leaks.ts";

/** Those of the second run make things on the host and look for what is left, so they run one after another. */
const UNIT = ["src", "sdk/src", "test/style"];
const KERNEL = ["test/contract", "test/integration", "test/security", "test/e2e"];

const named = process.argv.slice(2);
const before = takeInventory();
const passed = named.length > 0 ? run(named, 1) : [run(find(UNIT), 2), run(find(KERNEL), 1)].every(Boolean);
const leaks = await waitForNoLeaks(before);
for (const leak of leaks) process.stderr.write(`leaked: ${leak}\n`);
process.stderr.write(passed ? "tests: all passed\n" : "tests: FAILED, see `failing tests` above\n");
process.stderr.write(leaks.length === 0 ? "leak check: nothing was left behind\n" : "leak check: failed\n");
process.exitCode = passed && leaks.length === 0 ? 0 : 1;

function find(folders: readonly string[]): string[] {
	return folders.flatMap((folder) => globSync(`${folder}/**/*.test.ts`).sort());
}

function run(files: readonly string[], concurrency: number): boolean {
	const argv = ["--test", `--test-concurrency=${concurrency}`, ...files];
	return spawnSync(process.execPath, argv, { stdio: "inherit" }).status === 0;
}
