/** What a new jailer does with the sandboxes of one that is gone. */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { after, afterEach, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Jailer, JailerChild, JailerExit } from "../../src/linux/jailer.ts";
import { op } from "../../src/linux/plan.ts";
import { JailerFixture } from "../support/jailer-fixture.ts";
import { missingCommand, missingRoot } from "../support/requirements.ts";
import { TestCgroup } from "../support/test-cgroup.ts";

describe("a new jailer", { skip: missingRoot() || missingCommand("mksquashfs") }, () => {
	let fixture: JailerFixture;
	let cgroup: TestCgroup;
	let jailer: Jailer;
	before(async () => {
		fixture = await JailerFixture.open();
		cgroup = await TestCgroup.make(fixture.folder);
		jailer = await fixture.startJailer({ cgroups: [cgroup.parentHostPath] });
	});
	afterEach(() => removeRemains());
	after(async () => {
		await jailer?.close();
		cgroup?.remove();
		await fixture?.close();
	});

	function removeRemains(): Promise<JailerChild> {
		return fixture.jailer.run([op.cgroupRemove(cgroup.hostPath), op.fileRemove(fixture.socketHostPath)]);
	}

	/** A sandbox that runs until it is killed, of a jailer that is gone. */
	async function orphan(): Promise<JailerChild> {
		const first = await fixture.startJailer();
		const child = await first.run(fixture.plan(["wait"], cgroup.parts));
		await first.close();
		return child;
	}

	function exitOf({ hostPid }: JailerChild): Promise<JailerExit> {
		return new Promise((resolve) => jailer.onExit(hostPid, resolve));
	}

	async function untilReaped({ hostPid }: JailerChild): Promise<void> {
		while (existsSync(`/proc/${hostPid}`)) await sleep(20);
	}

	it("takes over a sandbox, kills it and tells how it ended, as if it had made it", async () => {
		const child = await orphan();
		assert.equal(await jailer.watch(child, cgroup.hostPath), true);
		assert.equal(await jailer.watch(child, cgroup.hostPath), true, "again");
		const exited = exitOf(child);
		await jailer.kill(child.hostPid, 9);
		const { waitStatus, userTimeMs, maxRssKiB } = await exited;
		assert.deepEqual({ waitStatus, userTimeMs, maxRssKiB }, { waitStatus: 9, userTimeMs: 0, maxRssKiB: 0 });
		assert.equal(await jailer.watch(child, cgroup.hostPath), false, "it is dead");
	});

	it("tells the exit code of one that ended by itself", async () => {
		const child = await orphan();
		assert.equal(await jailer.watch(child, cgroup.hostPath), true);
		const exited = exitOf(child);
		await fixture.hear();
		assert.equal((await exited).waitStatus, 0);
	});

	it("says so when a sandbox has ended before, also when its pid is another process's by now", async (t) => {
		const child = await orphan();
		process.kill(child.hostPid, "SIGKILL");
		await untilReaped(child);
		assert.equal(await jailer.watch(child, cgroup.hostPath), false);
		await removeRemains();
		const successor = await takePid(child, () => fixture.jailer.run(fixture.plan(["wait"], cgroup.parts)));
		if (successor === undefined) return t.skip("the pid could not be had again");
		assert.equal(await jailer.watch(child, cgroup.hostPath), false, "another start time");
		await jailer.kill(child.hostPid, 9);
		assert.ok(existsSync(`/proc/${successor.hostPid}`));
		assert.equal(await jailer.watch(successor, cgroup.hostPath), true);
		const exited = exitOf(successor);
		await fixture.jailer.kill(successor.hostPid, 9);
		await exited;
	});

	it("does not take the end of one that it took over for that of a newer one with the same pid", async (t) => {
		const child = await orphan();
		assert.equal(await jailer.watch(child, cgroup.hostPath), true);
		const heard: (number | undefined)[] = [];
		jailer.onExit(child.hostPid, ({ waitStatus }) => heard.push(waitStatus));
		process.kill(child.hostPid, "SIGKILL");
		await untilReaped(child);
		await removeRemains();
		const successor = await takePid(child, () => jailer.run(fixture.plan(["exit:7"], cgroup.parts)));
		if (successor === undefined) return t.skip("the pid could not be had again");
		assert.deepEqual(heard, [9]);
		assert.equal((await exitOf(successor)).waitStatus, 7 << 8);
	});

	/** What `make` starts with the pid of a dead process, or undefined. Others on the host take pids as well. */
	async function takePid(
		dead: JailerChild,
		make: () => Promise<JailerChild>,
	): Promise<JailerChild | undefined> {
		for (let attempt = 0; attempt < 20; attempt++) {
			writeFileSync("/proc/sys/kernel/ns_last_pid", String(dead.hostPid - 1));
			const child = await make();
			if (child.hostPid === dead.hostPid) return child;
			await Promise.all([jailer, fixture.jailer].map((maker) => maker.kill(child.hostPid, 9)));
			await sleep(50);
			await removeRemains();
		}
		return undefined;
	}
});
