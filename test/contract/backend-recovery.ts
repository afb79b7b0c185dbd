/** What every backend does when a part of it dies, and how a sandbox is stopped and started again. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { HostResource, LaunchedSandbox, LaunchSpec } from "../../src/backends/backend.ts";
import { type Inventory, takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { collect, exec, startInBackground } from "./agent-exec.ts";
import { type BackendFixture, type ContractOptions, toSpec } from "./backend-contract.ts";

export function testBackendRecovery(name: string, { open, skip }: ContractOptions): void {
	describe(`backend ${name}, recovery`, { skip }, () => {
		let fixture: BackendFixture;
		let idle: Inventory;
		let made = 0;
		before(async () => {
			idle = takeInventory();
			fixture = await open();
		});
		afterEach(async () => {
			assert.deepEqual(await fixture.backend.listResources(), []);
		});
		after(async () => {
			await fixture?.close();
			assert.deepEqual(await waitForNoLeaks(idle), []);
		});

		function spec(over: Partial<LaunchSpec> = {}): LaunchSpec {
			return { ...toSpec(fixture.layers, made++), ...over };
		}

		async function adopt(mine: LaunchSpec, { record }: LaunchedSandbox): Promise<LaunchedSandbox> {
			// As it comes out of a database.
			const adopted = await fixture.backend.adopt(mine, JSON.parse(JSON.stringify(record)));
			assert.ok(adopted, "it lives");
			return adopted;
		}

		async function resourcesOf(id: string): Promise<readonly HostResource[]> {
			return (await fixture.backend.listResources()).filter(({ sandboxId }) => sandboxId === id);
		}

		it("adopts a sandbox after a restart, with its processes and their output", async () => {
			const mine = spec({ upper: "disk" });
			const launched = await fixture.backend.launch(mine);
			await startInBackground(launched, "left", "echo before; sleep 0.3; echo after; exit 4");
			await fixture.restart();
			const adopted = await adopt(mine, launched);
			assert.equal(adopted.hostPid, launched.hostPid);
			assert.deepEqual(adopted.record, launched.record);
			assert.deepEqual(await collect(adopted, "left"), { exitCode: 4, output: "before\nafter\n" });
			assert.ok((await adopted.stats()).processes >= 1);
			await fixture.restart();
			const again = await adopt(mine, adopted);
			assert.equal((await exec(again, "echo alive")).output, "alive\n");
			await again.destroy();
			assert.match((await again.exited).reason, /destroyed/);
			await again.destroy();
		});

		it("tells the end of an adopted sandbox, and destroy still cleans up", async () => {
			const mine = spec();
			const launched = await fixture.backend.launch(mine);
			await fixture.restart();
			const adopted = await adopt(mine, launched);
			process.kill(adopted.hostPid, "SIGKILL");
			assert.match((await adopted.exited).reason, /SIGKILL/);
			await adopted.destroy();
		});

		it("adopts no dead sandbox, leaves its remains to removeOrphans, and adopts nothing else instead", async () => {
			const mine = spec({ upper: "disk" });
			const { hostPid, record, exited } = await fixture.backend.launch(mine);
			process.kill(hostPid, "SIGKILL");
			await exited;
			await fixture.restart();
			assert.equal(await fixture.backend.adopt(mine, record), undefined);
			assert.ok((await resourcesOf(mine.id)).some(({ kind }) => kind === "file"));
			const other = await fixture.backend.launch(spec());
			assert.equal(await fixture.backend.adopt(mine, other.record), undefined, "another one's record");
			assert.equal(await fixture.backend.adopt(mine, {}), undefined, "no record at all");
			await fixture.backend.removeOrphans(new Set([other.id]));
			assert.equal((await exec(other, "echo alive")).output, "alive\n");
			await other.destroy();
		});

		it("removes a sandbox that nobody adopts, but for its disk upper if that is asked for", async () => {
			const mine = spec({ upper: "disk" });
			await exec(await fixture.backend.launch(mine), "echo kept > /file");
			await fixture.restart();
			await fixture.backend.removeOrphans(new Set(), { keepUppers: new Set([mine.id]) });
			assert.deepEqual(
				(await resourcesOf(mine.id)).filter(({ kind }) => kind !== "loop").map(({ kind }) => kind),
				["file"],
			);
			const started = await fixture.backend.launch({ ...mine, keepsUpper: true });
			assert.equal((await exec(started, "cat /file")).output, "kept\n");
			await started.destroy();
		});

		it("keeps the disk upper of a sandbox that is stopped, and starts on it again and again", async () => {
			const mine = spec({ upper: "disk" });
			let sandbox = await fixture.backend.launch(mine);
			for (const round of [1, 2, 3]) {
				await exec(sandbox, `echo ${round} >> /rounds`);
				await sandbox.destroy({ keepsUpper: true });
				await sandbox.destroy({ keepsUpper: true });
				assert.deepEqual(
					(await resourcesOf(mine.id)).map(({ kind }) => kind),
					["file"],
				);
				sandbox = await fixture.backend.launch({ ...mine, keepsUpper: true });
			}
			assert.equal((await exec(sandbox, "cat /rounds")).output, "1\n2\n3\n");
			await sandbox.destroy({ keepsUpper: true });
			await sandbox.destroy();
		});

		it("lists exactly what there is of each sandbox", async () => {
			const [tmpfs, disk] = [spec(), spec({ upper: "disk" })];
			const first = await fixture.backend.launch(tmpfs);
			const second = await fixture.backend.launch(disk);
			await startInBackground(second, "sleeper", "exec sleep 100");
			const kinds = async (id: string) =>
				[...new Set((await resourcesOf(id)).map(({ kind }) => kind))].sort().join(" ");
			assert.equal(await kinds(tmpfs.id), "cgroup process socket");
			assert.equal(await kinds(disk.id), "cgroup file loop process socket");
			const processes = (await resourcesOf(disk.id)).filter(({ kind }) => kind === "process");
			assert.equal(processes.length, 2);
			assert.ok(
				processes.some(({ name }) => name === `${second.hostPid} ${processes[0]?.name.split(" ")[1]}`),
			);
			assert.equal((await fixture.backend.listResources()).filter(({ sandboxId }) => !sandboxId).length, 0);
			await first.destroy();
			assert.deepEqual(await resourcesOf(tmpfs.id), []);
			await second.destroy();
		});

		it("is closed without harm to those that live, which the next one adopts", async () => {
			const mine = spec();
			const launched = await fixture.backend.launch(mine);
			await fixture.backend.close();
			assert.equal((await exec(launched, "echo alive")).output, "alive\n");
			await fixture.restart();
			await (await adopt(mine, launched)).destroy();
		});

		it("launches, destroys and tells ends while the program that does it is killed all the time", async () => {
			const standing = await fixture.backend.launch(spec());
			const killing = new AbortController();
			const killer = killUntil(killing.signal);
			const launches = Array.from({ length: 12 }, async (_, index) => {
				const mine = spec(index % 3 === 0 ? { upper: "disk" } : {});
				const sandbox = await retry(() => fixture.backend.launch(mine));
				assert.equal((await exec(sandbox, "echo works")).output, "works\n");
				await retry(() => sandbox.destroy());
			});
			await Promise.all(launches).finally(() => killing.abort());
			await killer;
			process.kill(standing.hostPid, "SIGKILL");
			assert.match((await standing.exited).reason, /agent/);
			await standing.destroy();
		});

		async function killUntil(signal: AbortSignal): Promise<void> {
			for (let round = 0; !signal.aborted; round++) {
				await sleep(50 + ((round * 37) % 101));
				fixture.killHelper();
			}
		}
	});
}

/** A caller that tries again when the helper died twice in one call. */
async function retry<T>(act: () => Promise<T>): Promise<T> {
	for (let attempt = 1; ; attempt++) {
		try {
			return await act();
		} catch (error) {
			if ((error as { code?: string }).code !== "unavailable" || attempt === 20) throw error;
		}
	}
}
