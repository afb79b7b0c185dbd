/** What every backend is held to. A backend's own test file says how to make it. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Backend, LaunchedSandbox, LaunchSpec } from "../../src/backends/backend.ts";
import { findLeaks, type Inventory, takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { exec } from "./agent-exec.ts";

export interface BackendFixture {
	/** Another object after {@link restart}. */
	readonly backend: Backend;
	/** Layers, bottom first, that have a shell. */
	readonly layers: readonly string[];
	/** What of the backend dies with a daemon is killed and made anew. */
	restart(): Promise<void>;
	/** Kills the program that launches sandboxes, if there is one, and returns at once. */
	killHelper(): void;
	close(): Promise<void>;
}

export interface ContractOptions {
	readonly open: () => Promise<BackendFixture>;
	readonly skip: string | false;
}

const MIB = 1024 * 1024;

/** A small sandbox; `slot` is a number of its own. */
export function toSpec(layers: readonly string[], slot: number): LaunchSpec {
	return {
		id: `contract-${slot}`,
		hostname: "contract",
		layers,
		upper: "tmpfs",
		slot,
		limits: {
			cpuMillis: 1000,
			memoryBytes: 128 * MIB,
			swapBytes: 0,
			processes: 64,
			diskBytes: 32 * MIB,
		},
	};
}

export function testBackend(name: string, { open, skip }: ContractOptions): void {
	describe(`backend ${name}`, { skip }, () => {
		let fixture: BackendFixture;
		let idle: Inventory;
		let made = 0;
		before(async () => {
			fixture = await open();
			// What backends share between sandboxes, such as mounted layers, is not a leak.
			await (await launch()).destroy();
			idle = takeInventory();
		});
		after(() => fixture?.close());

		function spec(over: Partial<LaunchSpec> = {}): LaunchSpec {
			return { ...toSpec(fixture.layers, made++), ...over };
		}

		function launch(over: Partial<LaunchSpec> = {}): Promise<LaunchedSandbox> {
			return fixture.backend.launch(spec(over));
		}

		it("says what it can do on this machine, each missing thing with its reason", async () => {
			const checks = await fixture.backend.probe();
			assert.ok(checks.length > 0);
			for (const check of checks) {
				assert.notEqual(check.detail, "");
				if (!check.ok) assert.ok(check.fix, `${check.name} has no fix`);
			}
		});

		it("hands over a byte stream on which the agent runs programs", async () => {
			const sandbox = await launch();
			assert.deepEqual(await exec(sandbox, "echo hello; exit 3"), { exitCode: 3, output: "hello\n" });
			await sandbox.destroy();
		});

		it("opens the stream again after it was lost, and the sandbox has not noticed", async () => {
			const sandbox = await launch();
			await exec(sandbox, "echo kept > /file");
			assert.equal((await exec(sandbox, "cat /file")).output, "kept\n");
			await sandbox.destroy();
		});

		it("tells what the sandbox uses", async () => {
			const sandbox = await launch();
			await exec(sandbox, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
			const stats = await sandbox.stats();
			assert.equal(stats.memoryLimitBytes, 128 * MIB);
			assert.ok(stats.memoryBytes > 0 && stats.memoryBytes <= stats.memoryLimitBytes);
			assert.ok(stats.cpuUsageUs > 0);
			assert.ok(stats.processes >= 1);
			await sandbox.destroy();
		});

		it("destroys twice, also when programs ignore every signal, and leaves nothing", async () => {
			const sandbox = await launch();
			await exec(sandbox, "trap '' TERM INT HUP; (sleep 1000 &) ; true");
			await sandbox.destroy();
			await sandbox.destroy();
			assert.deepEqual(await waitForNoLeaks(idle), []);
		});

		it("says why a sandbox ended that was not destroyed, and destroy still cleans up", async () => {
			const sandbox = await launch();
			process.kill(sandbox.hostPid, "SIGKILL");
			assert.match((await sandbox.exited).reason, /SIGKILL/);
			await sandbox.destroy();
			assert.deepEqual(await waitForNoLeaks(idle), []);
		});

		it("leaves nothing behind when a launch fails half-way", async () => {
			await assert.rejects(launch({ layers: [...fixture.layers, "100-no-such-layer"] }));
			await assert.rejects(launch({ upper: "disk", limits: { ...spec().limits, diskBytes: 100 } }));
			assert.deepEqual(await waitForNoLeaks(idle), []);
		});

		it("removes what no record owns and keeps what one owns", async () => {
			const kept = await launch();
			const orphan = await launch({ upper: "disk" });
			await fixture.backend.removeOrphans(new Set([kept.id]));
			await orphan.exited;
			assert.equal((await exec(kept, "echo alive")).output, "alive\n");
			await kept.destroy();
			await orphan.destroy();
			assert.deepEqual(findLeaks(idle, takeInventory()), []);
		});
	});
}
