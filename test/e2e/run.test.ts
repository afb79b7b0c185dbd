/** The installed program on a machine where no daemon runs. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { linkLayers, missingLayers } from "../support/layers.ts";
import { takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { missingRoot } from "../support/requirements.ts";
import { shale } from "../support/shale.ts";

const SHALE = join(import.meta.dirname, "../../bin/shale");
const LAYERS = ["000-base-debian", "100-python3"];

describe("shale run without a daemon", { skip: missingRoot() || missingLayers(...LAYERS) }, () => {
	const folder = mkdtempSync(join(tmpdir(), "shale-e2e-"));
	const env: Record<string, string> = {
		SHALE_DATA: join(folder, "data"),
		SHALE_RUN: join(folder, "run"),
	};
	const idle = takeInventory();
	let daemonPid = 0;

	before(async () => {
		linkLayers(join(folder, "data", "layers"), LAYERS);
		env.SHALE_LISTEN = `127.0.0.1:${await freePort()}`;
	});
	after(async () => {
		if (daemonPid > 0) process.kill(daemonPid, "SIGTERM");
		const leaks = (await waitForNoLeaks(idle)).filter((leak) => !leak.endsWith(folder));
		rmSync(folder, { recursive: true });
		assert.deepEqual(leaks, []);
	});

	const run = async (args: readonly string[], stdin = "") => {
		const { stdout, ...ran } = await shale(args, { program: [SHALE], env, stdin });
		return { ...ran, stdout: stdout.toString() };
	};

	it("starts one, says so with its pid and log, and ends with the program's exit code", async () => {
		const { exitCode, stdout, stderr } = await run([
			"run",
			"--",
			"sh",
			"-c",
			"echo out; echo err >&2; exit 7",
		]);
		const notice = /no daemon is running: started one \(pid (\d+), log (\S+)\)/.exec(stderr);
		assert.ok(notice, stderr);
		daemonPid = Number(notice[1]);
		assert.match(readFileSync(String(notice[2]), "utf8"), /serving/);
		assert.equal(stdout, "out\n");
		assert.match(stderr, /err\n/);
		assert.equal(exitCode, 7);
	});

	it("uses that one from then on, and removes each run's sandbox", async () => {
		const ran = await run(["run", "--", "python3", "-c", "print(6*7)"]);
		assert.deepEqual(ran, { exitCode: 0, signal: null, stdout: "42\n", stderr: "" });
		assert.equal((await run(["ls", "-q"])).stdout, "");
	});

	it("removes the sandbox of a run that was killed itself, and none while its program is read", async () => {
		const child = spawn(SHALE, ["run", "--idle", "1s", "--id", "abandoned", "--", "sleep", "1000"], {
			env: { ...process.env, ...env },
			stdio: "ignore",
		});
		const ids = async () => (await run(["ls", "-q"])).stdout;
		for (let n = 0; n < 100 && (await ids()) === ""; n++) await delay(50);
		await delay(2000);
		assert.equal(await ids(), "abandoned\n", "longer than its idle time");
		child.kill("SIGKILL");
		for (let n = 0; n < 50 && (await ids()) !== ""; n++) await delay(100);
		assert.equal(await ids(), "");
	});

	it("forwards stdin byte for byte", async () => {
		const text = "a line\n".repeat(50_000);
		const { stdout, exitCode } = await run(["run", "-i", "--", "cat"], text);
		assert.equal(stdout, text);
		assert.equal(exitCode, 0);
	});

	for (const [title, args, exitCode, said] of [
		["a program that does not exist ends with 127", ["--", "nosuch"], 127, /nosuch: No such file/],
		["a program that cannot be executed ends with 126", ["--", "/etc/passwd"], 126, /Permission denied/],
		["a signal's number is added to 128", ["--", "sh", "-c", "kill -9 $$"], 137, /^$/],
		["a failure of Shale ends with 125", ["--memory", "1m", "--", "true"], 125, /limits\.memoryMiB/],
	] as const) {
		it(title, async () => {
			const ran = await run(["run", ...args]);
			assert.equal(ran.exitCode, exitCode, ran.stderr);
			assert.match(ran.stderr, said);
		});
	}
});

function freePort(): Promise<number> {
	return new Promise((resolve) => {
		const server = createServer().listen(0, "127.0.0.1", () => {
			const address = server.address();
			server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
		});
	});
}
