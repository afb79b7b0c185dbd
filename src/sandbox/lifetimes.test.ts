/** Lifetimes and idle times by a clock that the test sets. */
import assert from "node:assert/strict";
import { describe, it, mock } from "node:test";
import type { OpenSandboxes } from "./sandboxes.ts";
import { FakeHost } from "./testing/fake-core.ts";

/** Time passes, for the clock and for the timers, in steps in which what was begun can end. */
async function pass(host: FakeHost, ms: number, stepMs = 1000): Promise<void> {
	for (let left = ms; left > 0; left -= stepMs) {
		host.clock.pass(Math.min(left, stepMs));
		mock.timers.tick(Math.min(left, stepMs));
		await settle();
	}
}

/** Without timers, which are the test's. */
async function settle(): Promise<void> {
	for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
}

async function withTimers(test: (host: FakeHost, sandboxes: OpenSandboxes) => Promise<void>): Promise<void> {
	mock.timers.enable({ apis: ["setTimeout"] });
	using host = new FakeHost();
	try {
		await test(host, await host.open());
	} finally {
		mock.timers.reset();
	}
}

function stateOf(sandboxes: OpenSandboxes, id: string): string {
	return sandboxes.list({}).sandboxes.find((sandbox) => sandbox.id === id)?.state ?? "gone";
}

describe("a lifetime", () => {
	it("ends at its time and not before, and says when that is", () =>
		withTimers(async (host, sandboxes) => {
			const { expiresAt } = await sandboxes.create({ id: "a", lifetimeMs: 60_000 });
			assert.equal(expiresAt, "2026-01-01T00:01:00.000Z");
			await sandboxes.create({ id: "b", lifetimeMs: 90_000 });
			await sandboxes.create({ id: "c" });
			await pass(host, 59_000);
			assert.equal(stateOf(sandboxes, "a"), "running");
			await pass(host, 1_000);
			assert.deepEqual(
				["a", "b", "c"].map((id) => stateOf(sandboxes, id)),
				["gone", "running", "running"],
			);
			await pass(host, 30_000);
			assert.deepEqual(
				["b", "c"].map((id) => stateOf(sandboxes, id)),
				["gone", "running"],
			);
			const told = await host.told();
			assert.deepEqual(
				told.filter((event) => / a\b/.test(event)),
				[
					"sandbox.created a",
					"sandbox.running a",
					"sandbox.expired a its lifetime ended",
					"sandbox.destroyed a",
				],
			);
		}));

	it("stops and keeps the upper when that was asked for, and begins again with the next start", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", lifetimeMs: 60_000, onExpiry: "stop", upper: "disk" });
			await pass(host, 60_000);
			const { state, reason, expiresAt } = sandboxes.get("a");
			assert.deepEqual([state, reason, expiresAt], ["stopped", "its lifetime ended", null]);
			await pass(host, 3_600_000, 60_000);
			assert.equal((await sandboxes.startAgain("a")).expiresAt, "2026-01-01T01:02:00.000Z");
			await pass(host, 59_000);
			assert.equal(stateOf(sandboxes, "a"), "running");
			await pass(host, 1_000);
			assert.equal(stateOf(sandboxes, "a"), "stopped");
		}));

	it("asks for a disk upper when it shall stop", () =>
		withTimers(async (_host, sandboxes) => {
			await assert.rejects(sandboxes.create({ onExpiry: "stop", lifetimeMs: 1000 }), {
				code: "invalid_argument",
				message: /^onExpiry: /,
			});
		}));

	it("is extended, shortened and taken away", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", lifetimeMs: 60_000 });
			await pass(host, 50_000);
			assert.equal((await sandboxes.extend("a", 30_000)).expiresAt, "2026-01-01T00:01:20.000Z");
			await pass(host, 29_000);
			assert.equal(stateOf(sandboxes, "a"), "running");
			assert.equal((await sandboxes.extend("a", null)).expiresAt, null);
			await pass(host, 3_600_000, 60_000);
			assert.equal(stateOf(sandboxes, "a"), "running");
			await sandboxes.extend("a", 2_000);
			await pass(host, 2_000);
			assert.equal(stateOf(sandboxes, "a"), "gone");
		}));

	it("that was extended in the moment of its end goes on; one that has begun to end refuses", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "late", lifetimeMs: 10_000 });
			await sandboxes.create({ id: "lost", lifetimeMs: 10_000 });
			// Its time is over, and the timer has not been heard yet.
			host.clock.pass(10_000);
			await sandboxes.extend("late", 60_000);
			mock.timers.tick(10_000);
			await assert.rejects(sandboxes.extend("lost", 60_000), { code: "conflict" });
			await settle();
			assert.deepEqual(
				["late", "lost"].map((id) => stateOf(sandboxes, id)),
				["running", "gone"],
			);
			await pass(host, 59_000);
			assert.equal(stateOf(sandboxes, "late"), "running");
		}));

	it("does not heed a clock that is set back or forward, and tells its end by the new one", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", lifetimeMs: 60_000 });
			host.clock.setWall(-86_400_000);
			await pass(host, 59_000);
			assert.equal(stateOf(sandboxes, "a"), "running");
			assert.equal(sandboxes.get("a").expiresAt, "2025-12-31T00:01:00.000Z");
			host.clock.setWall(10 * 86_400_000);
			await settle();
			assert.equal(stateOf(sandboxes, "a"), "running");
			const next = await host.open();
			assert.equal(stateOf(next, "a"), "running", "nor does the next daemon");
			await pass(host, 1_000);
			assert.equal(stateOf(next, "a"), "gone");
		}));

	it("goes on while no daemon runs, and one that ended meanwhile ends at the next start", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", lifetimeMs: 60_000 });
			await sandboxes.create({ id: "b", lifetimeMs: 600_000 });
			await sandboxes.close();
			await pass(host, 61_000);
			assert.ok(host.backend.alive.has("a"));
			const next = await host.open();
			await settle();
			assert.deepEqual(
				["a", "b"].map((id) => stateOf(next, id)),
				["gone", "running"],
			);
		}));

	it("of one that failed takes its record away too", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", lifetimeMs: 60_000 });
			host.backend.die("a");
			await pass(host, 30_000);
			assert.equal(stateOf(sandboxes, "a"), "failed");
			host.clock.reboot(3_600_000);
			const next = await host.open();
			await settle();
			assert.equal(stateOf(next, "a"), "gone");
		}));

	it("whose end fails is tried again", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", lifetimeMs: 60_000 });
			host.backend.onDestroy = () => {
				throw new Error("stuck");
			};
			await pass(host, 65_000);
			assert.equal(stateOf(sandboxes, "a"), "destroying");
			host.backend.onDestroy = () => undefined;
			await pass(host, 10_000);
			assert.equal(stateOf(sandboxes, "a"), "gone");
			assert.equal((await host.told()).filter((event) => event.startsWith("sandbox.expired")).length, 1);
		}));
});

describe("an idle time", () => {
	const idle = { idleTimeoutMs: 60_000 };

	it("ends when nobody has used the sandbox for so long", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", ...idle });
			await pass(host, 40_000);
			await sandboxes.listProcesses("a");
			await pass(host, 59_000);
			assert.equal(stateOf(sandboxes, "a"), "running");
			await pass(host, 1_000);
			assert.equal(stateOf(sandboxes, "a"), "gone");
			assert.ok((await host.told()).includes("sandbox.expired a it was idle"));
		}));

	it("is not renewed by looks at the record, figures, or calls that fail", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", ...idle });
			for (let n = 0; n < 6; n++) {
				await pass(host, 10_000);
				if (n === 5) break;
				sandboxes.get("a");
				sandboxes.list({});
				await sandboxes.stats("a");
				await sandboxes.create({ id: "a", ...idle });
				await assert.rejects(sandboxes.getProcess("a", "nobody"));
			}
			assert.equal(stateOf(sandboxes, "a"), "gone");
		}));

	it("comes with a lifetime, whichever ends first", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", ...idle, lifetimeMs: 70_000 });
			await pass(host, 30_000);
			await sandboxes.listProcesses("a");
			await pass(host, 40_000);
			assert.equal(stateOf(sandboxes, "a"), "gone");
			assert.ok((await host.told()).includes("sandbox.expired a its lifetime ended"));
		}));

	it("outlives a restart, after which there is a minute to come back", () =>
		withTimers(async (host, sandboxes) => {
			await sandboxes.create({ id: "a", idleTimeoutMs: 600_000 });
			await sandboxes.create({ id: "b", idleTimeoutMs: 600_000 });
			await pass(host, 300_000, 30_000);
			await sandboxes.listProcesses("b");
			// Dropped: what was written of the last use is at most ten seconds old.
			const next = await host.open();
			await pass(host, 290_000, 10_000);
			assert.deepEqual(
				["a", "b"].map((id) => stateOf(next, id)),
				["running", "running"],
			);
			await pass(host, 20_000, 10_000);
			assert.deepEqual(
				["a", "b"].map((id) => stateOf(next, id)),
				["gone", "running"],
			);
			await next.close();
			await pass(host, 3_600_000, 60_000);
			const last = await host.open();
			await pass(host, 50_000);
			assert.equal(stateOf(last, "b"), "running");
			await pass(host, 11_000);
			assert.equal(stateOf(last, "b"), "gone");
		}));
});
