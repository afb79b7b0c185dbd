/**
 * Runs all tests, or the files given, and then the leak check: whatever of Shale the host has more of than
 * before the run is a failure.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { takeInventory, waitForNoLeaks } from "./support/leaks.ts";

const SUITES = ["src", "sdk/src", "test/style", "test/contract", "test/integration", "test/security", "test/e2e"];

const files = process.argv.slice(2);
if (files.length === 0) files.push(...SUITES.flatMap((suite) => globSync(`${suite}/**/*.test.ts`).sort()));

const before = takeInventory();
const { status } = spawnSync(process.execPath, ["--test", "--test-concurrency=2", ...files], { stdio: "inherit" });
const leaks = await waitForNoLeaks(before);
for (const leak of leaks) process.stderr.write(`leaked: ${leak}\n`);
process.stderr.write(leaks.length === 0 ? "leak check: nothing was left behind\n" : "leak check: failed\n");
process.exitCode = status === 0 && leaks.length === 0 ? 0 : 1;
