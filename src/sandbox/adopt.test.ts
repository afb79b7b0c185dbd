/** A daemon that was killed and the next one, on a fake host: every state, alive, dead, and after a reboot. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toShaleError } from "../lib/errors.ts";
import type { OpenSandboxes } from "./sandboxes.ts";
import { Gate } from "./testing/fake-backend.ts";
import { FakeHost } from "./testing/fake-core.ts";
import type { SandboxState, UpperKind } from "./types.ts";

type Fate = "alive" | "dead" | "rebooted";

/** Brings a sandbox `a` into a state in which the daemon is then dropped. */
const PREPARATIONS: Readonly<
	Partial<Record<SandboxState, (host: FakeHost, upper: UpperKind) => Promise<void>>>
> = {
	async creating(host, upper) {
		const { sandboxes, gate } = await stuckIn(host, "onLaunch");
		void sandboxes.create({ id: "a", upper }).catch(() => undefined);
		await gate.reached;
	},
	async running(host, upper) {
		await (await host.open()).create({ id: "a", upper });
	},
	async failed(host, upper) {
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper });
		host.backend.die("a");
		await settle();
		assert.equal(sandboxes.get("a").state, "failed");
	},
	async stopping(host, upper) {
		const { sandboxes, gate } = await stuckIn(host, "onDestroy");
		await sandboxes.create({ id: "a", upper });
		void sandboxes.stop("a").catch(() => undefined);
		await gate.reached;
	},
	async stopped(host, upper) {
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper });
		await sandboxes.stop("a");
	},
	async starting(host, upper) {
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper });
		await sandboxes.stop("a");
		const gate = new Gate();
		host.backend.onLaunch = gate.wait;
		void sandboxes.startAgain("a").catch(() => undefined);
		await gate.reached;
	},
	async destroying(host, upper) {
		const { sandboxes, gate } = await stuckIn(host, "onDestroy");
		await sandboxes.create({ id: "a", upper });
		void sandboxes.destroy("a").catch(() => undefined);
		await gate.reached;
	},
};

async function stuckIn(host: FakeHost, where: "onLaunch" | "onDestroy") {
	const sandboxes = await host.open();
	const gate = new Gate();
	host.backend[where] = gate.wait;
	return { sandboxes, gate };
}

function settle(): Promise<void> {
	return new Promise((resolve) => setTimeout(resolve, 5));
}

/** The next daemon. */
async function reopen(host: FakeHost, fate: Fate): Promise<OpenSandboxes> {
	host.backend.onLaunch = () => undefined;
	host.backend.onDestroy = () => undefined;
	if (fate === "rebooted") {
		host.backend.reboot();
		host.clock.reboot(60_000);
	}
	if (fate === "dead") host.backend.die("a");
	return await host.open();
}

function seen(host: FakeHost, sandboxes: OpenSandboxes): string {
	const { alive, uppers } = host.backend;
	let record: string;
	try {
		const { state, reason } = sandboxes.get("a");
		record = reason === null ? state : `${state}: ${reason}`;
	} catch (error) {
		record = toShaleError(error).code;
	}
	return [record, ...(alive.has("a") ? ["lives"] : []), ...(uppers.has("a") ? ["upper"] : [])].join(", ");
}

/** Of no record. */
const STRANGER = { hostPid: 99, exited: new Promise<never>(() => undefined), exit: () => undefined };

const DEAD = "its agent was killed by SIGKILL";
const ENDED = "it ended while no daemon ran";
const REBOOT = "the host was restarted";

const CASES: readonly (readonly [SandboxState, UpperKind, Readonly<Record<Fate, string>>])[] = [
	["creating", "tmpfs", { alive: "not_found", dead: "not_found", rebooted: "not_found" }],
	["creating", "disk", { alive: "not_found", dead: "not_found", rebooted: "not_found" }],
	["running", "tmpfs", { alive: "running, lives", dead: `failed: ${ENDED}`, rebooted: `failed: ${REBOOT}` }],
	[
		"running",
		"disk",
		{
			alive: "running, lives, upper",
			dead: `failed: ${ENDED}, upper`,
			rebooted: `stopped: ${REBOOT}, upper`,
		},
	],
	["failed", "tmpfs", { alive: `failed: ${DEAD}`, dead: `failed: ${DEAD}`, rebooted: `failed: ${DEAD}` }],
	[
		"failed",
		"disk",
		{ alive: `failed: ${DEAD}, upper`, dead: `failed: ${DEAD}, upper`, rebooted: `failed: ${DEAD}, upper` },
	],
	["stopping", "disk", { alive: "stopped, upper", dead: "stopped, upper", rebooted: "stopped, upper" }],
	["stopped", "disk", { alive: "stopped, upper", dead: "stopped, upper", rebooted: "stopped, upper" }],
	[
		"starting",
		"disk",
		{
			alive: "stopped: its start was cut short, upper",
			dead: "stopped: its start was cut short, upper",
			rebooted: "stopped: its start was cut short, upper",
		},
	],
	["destroying", "tmpfs", { alive: "not_found", dead: "not_found", rebooted: "not_found" }],
	["destroying", "disk", { alive: "not_found", dead: "not_found", rebooted: "not_found" }],
];

describe("a daemon that was killed", () => {
	for (const [state, upper, ends] of CASES) {
		for (const [fate, expected] of Object.entries(ends) as [Fate, string][]) {
			it(`while a sandbox on ${upper} was ${state}, which is ${fate}: it is ${expected}`, async () => {
				using host = new FakeHost();
				await PREPARATIONS[state]?.(host, upper);
				const sandboxes = await reopen(host, fate);
				assert.equal(seen(host, sandboxes), expected);
				// Whatever became of it, its id is free or it can be destroyed, and then nothing is left.
				if (expected === "not_found") await sandboxes.create({ id: "a" });
				await sandboxes.destroy("a");
				assert.equal(seen(host, sandboxes), "not_found");
			});
		}
	}

	it("in the middle of a launch that the jailer had carried out, rolls it back", async () => {
		using host = new FakeHost();
		await PREPARATIONS.creating?.(host, "disk");
		host.backend.alive.set("a", STRANGER);
		host.backend.uppers.add("a");
		const sandboxes = await reopen(host, "alive");
		assert.equal(seen(host, sandboxes), "not_found");
	});
});

describe("adoption", () => {
	it("keeps ids, names, slots and the launch record, and tells each", async () => {
		using host = new FakeHost();
		const first = await host.open();
		await first.create({ id: "a", name: "web" });
		await first.create({ id: "b" });
		await first.destroy("a");
		await first.create({ id: "c", name: "web" });
		const second = await host.open();
		assert.deepEqual(await host.told(), ["sandbox.adopted b", "sandbox.adopted c"]);
		assert.equal(second.count, 2);
		await assert.rejects(second.create({ name: "web" }), { code: "conflict" });
		await second.create({ id: "d" });
		const slots = new Map(host.backend.launches.map(({ id, slot }) => [id, slot]));
		assert.equal(new Set(["b", "c", "d"].map((id) => slots.get(id))).size, 3);
		const third = await host.open();
		assert.deepEqual(
			third.list({}).sandboxes.map(({ id, state }) => `${id} ${state}`),
			["b running", "c running", "d running"],
		);
	});

	it("notices the end of an adopted one", async () => {
		using host = new FakeHost();
		await (await host.open()).create({ id: "a" });
		const next = await host.open();
		host.backend.die("a");
		await settle();
		assert.equal(next.get("a").state, "failed");
		assert.deepEqual(await host.told(), ["sandbox.adopted a", `sandbox.failed a ${DEAD}`]);
	});

	it("asks no agent before it is needed", async () => {
		using host = new FakeHost();
		const first = await host.open();
		for (let n = 0; n < 50; n++) await first.create({ id: `s${n}` });
		await first.close();
		await settle();
		assert.equal(host.backend.connections, 0, "close lets go of all");
		const next = await host.open();
		assert.equal(host.backend.connections, 0);
		assert.deepEqual(await next.listProcesses("s7"), []);
		assert.equal(host.backend.connections, 1);
		await next.close();
	});

	it("leaves one alone of which it cannot tell whether it lives, and tries again at the next start", async () => {
		using host = new FakeHost();
		await (await host.open()).create({ id: "a" });
		host.backend.onAdopt = () => {
			throw new Error("the jailer does not answer");
		};
		const blind = await host.open();
		assert.equal(seen(host, blind), "failed: it could not be taken over: the jailer does not answer, lives");
		host.backend.onAdopt = () => undefined;
		const next = await host.open();
		assert.equal(seen(host, next), "running, lives");
		await next.destroy("a");
		assert.equal(host.backend.alive.size, 0);
	});

	it("starts although something cannot be removed, which can then be destroyed again", async () => {
		using host = new FakeHost();
		await PREPARATIONS.creating?.(host, "tmpfs");
		host.backend.onLaunch = () => undefined;
		host.backend.alive.set("a", STRANGER);
		host.backend.onDestroy = () => {
			throw new Error("a process is stuck in the kernel");
		};
		const sandboxes = await host.open();
		assert.equal(seen(host, sandboxes), "destroying, lives");
		await sandboxes.create({ id: "other" });
		host.backend.onDestroy = () => undefined;
		await sandboxes.destroy("a");
		assert.equal(seen(host, sandboxes), "not_found");
	});

	it("removes what no record owns", async () => {
		using host = new FakeHost();
		await (await host.open()).create({ id: "a" });
		host.backend.alive.set("x", STRANGER);
		host.backend.uppers.add("y");
		await host.open();
		assert.deepEqual([...host.backend.alive.keys()], ["a"]);
		assert.deepEqual([...host.backend.uppers], []);
	});

	it("keeps one whose agent speaks another version, and says what to do", async () => {
		using host = new FakeHost();
		await (await host.open()).create({ id: "a" });
		host.backend.version = 77;
		const next = await host.open();
		await assert.rejects(next.listProcesses("a"), {
			code: "unavailable",
			message: /speaks version 77/,
			hint: /stop and start it, or destroy it and create it again/,
		});
		assert.equal(seen(host, next), "running, lives");
		await next.destroy("a");
	});
});
