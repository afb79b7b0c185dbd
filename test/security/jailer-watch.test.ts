/** Whoever has the daemon's end of the jailer's socket can have sandboxes watched and killed, and nothing else. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Jailer, JailerChild } from "../../src/linux/jailer.ts";
import { JailerFixture } from "../support/jailer-fixture.ts";
import { missingCommand, missingRoot } from "../support/requirements.ts";
import { TestCgroup } from "../support/test-cgroup.ts";

describe("watching and killing by way of the jailer", {
	skip: missingRoot() || missingCommand("mksquashfs"),
}, () => {
	let fixture: JailerFixture;
	let cgroup: TestCgroup;
	let jailer: Jailer;
	const bystanders: ChildProcess[] = [];
	before(async () => {
		fixture = await JailerFixture.open();
		cgroup = await TestCgroup.make(fixture.folder);
		mkdirSync(cgroup.hostPath);
		jailer = await fixture.startJailer({ cgroups: [cgroup.parentHostPath] });
	});
	afterEach(async () => {
		for (const bystander of bystanders.splice(0)) {
			if (bystander.exitCode !== null || bystander.signalCode !== null) continue;
			bystander.kill("SIGKILL");
			await once(bystander, "exit");
		}
	});
	after(async () => {
		await jailer?.close();
		rmdirSync(cgroup.hostPath);
		cgroup.remove();
		await fixture?.close();
	});

	/** An ordinary process of the host. */
	function startProcess(): JailerChild {
		const child = spawn("sleep", ["100"], { stdio: "ignore" });
		bystanders.push(child);
		return identify(child.pid ?? 0);
	}

	/** Init of a pid namespace, like that of any container of the host. */
	async function startInit(): Promise<JailerChild> {
		const outer = spawn("unshare", ["--pid", "--fork", "--kill-child", "sleep", "100"], { stdio: "ignore" });
		bystanders.push(outer);
		for (;;) {
			const [inner] = readFileSync(`/proc/${outer.pid}/task/${outer.pid}/children`, "utf8").trim().split(" ");
			if (inner !== undefined && inner !== "") return identify(Number(inner));
			await sleep(5);
		}
	}

	function identify(hostPid: number): JailerChild {
		const stat = readFileSync(`/proc/${hostPid}/stat`, "utf8");
		return { hostPid, startTicks: Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]) };
	}

	function moveIntoCgroup({ hostPid }: JailerChild): void {
		writeFileSync(join(cgroup.hostPath, "cgroup.procs"), String(hostPid));
	}

	async function isRefused(child: JailerChild, { by = jailer, at = cgroup.hostPath } = {}): Promise<void> {
		assert.equal(await by.watch(child, at), false);
		await by.kill(child.hostPid, 9);
		await sleep(10);
		assert.deepEqual(identify(child.hostPid), child, "it lives");
		assert.match(readFileSync(`/proc/${child.hostPid}/status`, "utf8"), /^State:\s[SR]/m);
	}

	it("a process that is no sandbox's is left alone, also in a sandbox's cgroup", async () => {
		const child = startProcess();
		await isRefused(child);
		moveIntoCgroup(child);
		await isRefused(child);
	});

	it("a container of somebody else's is left alone, whichever cgroup is named", async () => {
		const child = await startInit();
		await isRefused(child);
		const hierarchy = dirname(cgroup.parentHostPath);
		for (const at of [
			hierarchy,
			cgroup.parentHostPath,
			`${cgroup.hostPath}/../..`,
			`${cgroup.parentHostPath}/../`,
			`${cgroup.hostPath}/nowhere`,
			"/proc/self",
			"cgroup",
			"",
		]) {
			await isRefused(child, { at }).catch((error: unknown) => {
				// An empty path is no request at all.
				if (at !== "") throw error;
				assert.equal((error as { errnoName?: string }).errnoName, "EINVAL");
			});
		}
		// The same process would be one of ours here: it is the cgroup that tells.
		moveIntoCgroup(child);
		assert.equal(await jailer.watch(child, cgroup.hostPath), true);
		const exited = new Promise((resolve) => jailer.onExit(child.hostPid, resolve));
		await jailer.kill(child.hostPid, 9);
		await exited;
	});

	it("a start time that is not the process's is refused", async () => {
		const child = await startInit();
		moveIntoCgroup(child);
		for (const startTicks of [0, child.startTicks - 1, child.startTicks + 1]) {
			assert.equal(await jailer.watch({ ...child, startTicks }, cgroup.hostPath), false);
		}
		await jailer.kill(child.hostPid, 9);
		assert.deepEqual(identify(child.hostPid), child);
	});

	it("a jailer that was not told which cgroups are Shale's takes over nothing", async () => {
		const child = await startInit();
		moveIntoCgroup(child);
		await isRefused(child, { by: fixture.jailer });
	});

	it("impossible pids are refused, and the jailer goes on", async () => {
		for (const hostPid of [0, 1, process.pid, 0x7fff_ffff, 0xffff_ffff]) {
			assert.equal(await jailer.watch({ hostPid, startTicks: 0 }, cgroup.hostPath), false);
		}
		assert.deepEqual(await jailer.run([]), { hostPid: 0, startTicks: 0 });
	});
});
