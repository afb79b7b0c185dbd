/** The life cycle on a fake host: the same create again, stop and start, destroy from everywhere, a failing database. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toDigest } from "./create.ts";
import { Gate } from "./testing/fake-backend.ts";
import { FakeHost } from "./testing/fake-core.ts";

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("create", () => {
	it("gives the sandbox that there is to the same request under the same id", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		const first = await sandboxes.create({ id: "a", labels: { x: "1", y: "2" } });
		assert.deepEqual(await sandboxes.create({ labels: { y: "2", x: "1" }, id: "a" }), first);
		const next = await host.open();
		assert.deepEqual(
			await next.create({ id: "a", labels: { x: "1", y: "2" } }),
			first,
			"after a restart too",
		);
		assert.equal(host.backend.launches.length, 1);
	});

	it("refuses another request under that id, and says what is taken", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", name: "web" });
		await assert.rejects(sandboxes.create({ id: "a", name: "other" }), {
			code: "conflict",
			details: { taken: "id", id: "a" },
		});
		await assert.rejects(sandboxes.create({ name: "web" }), {
			code: "conflict",
			details: { taken: "name", id: "a" },
		});
	});

	it("joins the same request that is under way, and fails as that one does", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		const gate = new Gate();
		host.backend.onLaunch = gate.wait;
		const answers = [sandboxes.create({ id: "a" }), sandboxes.create({ id: "a" })];
		await gate.reached;
		await assert.rejects(sandboxes.create({ id: "a", name: "x" }), { code: "conflict" });
		gate.open();
		const [first, second] = await Promise.all(answers);
		assert.deepEqual(first, second);
		const failing = new Gate();
		host.backend.onLaunch = failing.wait;
		const failures = [sandboxes.create({ id: "b" }), sandboxes.create({ id: "b" })];
		const outcome = Promise.allSettled(failures);
		await failing.reached;
		failing.fail("no jailer");
		assert.deepEqual(
			(await outcome).map((end) => end.status === "rejected" && end.reason.message),
			["no jailer", "no jailer"],
		);
		host.backend.onLaunch = () => undefined;
		assert.equal((await sandboxes.create({ id: "b" })).state, "running");
	});

	it("digests a request by what it asks for", () => {
		assert.equal(
			toDigest({ id: "a", env: { A: "1", B: "2" } }),
			toDigest({ env: { B: "2", A: "1" }, id: "a" }),
		);
		assert.equal(toDigest({ id: "a", name: undefined }), toDigest({ id: "a" }));
		assert.notEqual(toDigest({ layers: ["1", "2"] }), toDigest({ layers: ["2", "1"] }));
		assert.notEqual(toDigest({ limits: { cpuMillis: 1 } }), toDigest({ limits: { cpuMillis: 2 } }));
	});
});

describe("stop and start", () => {
	it("keep the upper, the id, the name and the range of user ids", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", name: "web", upper: "disk" });
		assert.equal((await sandboxes.stop("a")).state, "stopped");
		assert.equal(host.backend.alive.size, 0);
		assert.ok(host.backend.uppers.has("a"));
		await assert.rejects(sandboxes.create({ name: "web" }), { code: "conflict" });
		await sandboxes.create({ id: "b" });
		assert.equal((await sandboxes.startAgain("a")).state, "running");
		const [first, b, again] = host.backend.launches;
		assert.deepEqual(again, { ...first, keepsUpper: true });
		assert.notEqual(first?.slot, b?.slot);
	});

	it("may be repeated, and be asked for by several at once", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper: "disk" });
		assert.equal((await sandboxes.startAgain("a")).state, "running");
		const stops = await Promise.all([sandboxes.stop("a"), sandboxes.stop("a")]);
		assert.deepEqual(
			stops.map(({ state }) => state),
			["stopped", "stopped"],
		);
		assert.equal((await sandboxes.stop("a")).state, "stopped");
		const starts = await Promise.all([sandboxes.startAgain("a"), sandboxes.startAgain("a")]);
		assert.deepEqual(
			starts.map(({ state }) => state),
			["running", "running"],
		);
		assert.equal(host.backend.launches.length, 2);
	});

	it("wait for each other in the order in which they were asked for", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper: "disk" });
		const [stopped, started] = await Promise.all([sandboxes.stop("a"), sandboxes.startAgain("a")]);
		assert.equal(started.state, "running");
		assert.ok(["running", "stopped", "starting"].includes(stopped.state));
		assert.equal(sandboxes.get("a").state, "running");
	});

	it("refuse a tmpfs upper before anything has ended", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a" });
		await assert.rejects(sandboxes.stop("a"), { code: "conflict", hint: /upper "disk"/ });
		assert.equal(sandboxes.get("a").state, "running");
		assert.ok(host.backend.alive.has("a"));
	});

	it("a stopped one refuses calls, and says how to go on", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper: "disk" });
		await sandboxes.stop("a");
		const refusal = { code: "conflict", message: "sandbox a is stopped", hint: "Start it: shale start a" };
		await assert.rejects(sandboxes.listProcesses("a"), refusal);
		await assert.rejects(sandboxes.stats("a"), refusal);
		await assert.rejects(sandboxes.extend("a", 1000), refusal);
	});

	it("a start that fails leaves it stopped, with the reason and its upper", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper: "disk" });
		await sandboxes.stop("a");
		const gate = new Gate();
		gate.fail("the layer is damaged");
		host.backend.onLaunch = gate.wait;
		await assert.rejects(sandboxes.startAgain("a"), { message: "the layer is damaged" });
		const { state, reason } = sandboxes.get("a");
		assert.deepEqual([state, reason], ["stopped", "starting it failed: the layer is damaged"]);
		assert.ok(host.backend.uppers.has("a"));
		host.backend.onLaunch = () => undefined;
		assert.deepEqual((await sandboxes.startAgain("a")).reason, null);
	});

	it("a stop that failed half-way is repeated", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper: "disk" });
		host.backend.onDestroy = () => {
			throw new Error("stuck");
		};
		await assert.rejects(sandboxes.stop("a"), /stuck/);
		assert.equal(sandboxes.get("a").state, "stopping");
		host.backend.onDestroy = () => undefined;
		assert.equal((await sandboxes.stop("a")).state, "stopped");
	});

	it("one that failed on a disk upper is started again, on a tmpfs upper not", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		for (const upper of ["disk", "tmpfs"] as const) {
			await sandboxes.create({ id: upper, upper });
			host.backend.die(upper);
		}
		await settle();
		assert.equal((await sandboxes.startAgain("disk")).state, "running");
		await assert.rejects(sandboxes.startAgain("tmpfs"), {
			code: "conflict",
			message: /tmpfs is failed: its agent was killed by SIGKILL/,
		});
	});
});

describe("destroy", () => {
	it("waits for a step that is under way, and refuses those that come later", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper: "disk" });
		await sandboxes.stop("a");
		const gate = new Gate();
		host.backend.onLaunch = gate.wait;
		const starting = sandboxes.startAgain("a");
		await gate.reached;
		const destroyed = Promise.all([sandboxes.destroy("a"), sandboxes.destroy("a")]);
		const stopping = assert.rejects(sandboxes.stop("a"), { code: "conflict" });
		gate.open();
		await Promise.all([starting, destroyed, stopping]);
		assert.deepEqual([host.backend.alive.size, host.backend.uppers.size], [0, 0]);
		await sandboxes.destroy("a");
		await assert.rejects(sandboxes.destroy("never"), { code: "not_found" });
		await assert.rejects(sandboxes.startAgain("a"), { code: "not_found" });
	});

	it("takes away one whose creation is under way", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		const gate = new Gate();
		host.backend.onLaunch = gate.wait;
		const creating = sandboxes.create({ id: "a" });
		await gate.reached;
		const destroyed = sandboxes.destroy("a");
		gate.open();
		await Promise.all([creating, destroyed]);
		assert.equal(host.backend.alive.size, 0);
	});

	it("that failed is repeated", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a" });
		host.backend.onDestroy = () => {
			throw new Error("stuck");
		};
		await assert.rejects(sandboxes.destroy("a"), /stuck/);
		assert.equal(sandboxes.get("a").state, "destroying");
		host.backend.onDestroy = () => undefined;
		await sandboxes.destroy("a");
		assert.throws(() => sandboxes.get("a"), { code: "not_found" });
	});
});

describe("a database that cannot be written", () => {
	const fault = (host: FakeHost) => host.database?.exec("PRAGMA query_only = ON");
	const repair = (host: FakeHost) => host.database?.exec("PRAGMA query_only = OFF");

	it("refuses a create and leaves nothing behind, also when it fails in the middle of one", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		fault(host);
		await assert.rejects(sandboxes.create({ id: "a" }), { code: "unavailable", hint: /cannot be written/ });
		assert.equal(host.backend.launches.length, 0);
		repair(host);
		host.backend.onLaunch = () => fault(host);
		await assert.rejects(sandboxes.create({ id: "a", name: "web" }), { code: "unavailable" });
		assert.equal(host.backend.alive.size, 0);
		assert.throws(() => sandboxes.get("a"), { code: "not_found" });
		assert.deepEqual(sandboxes.list({}).sandboxes, []);
		host.backend.onLaunch = () => undefined;
		repair(host);
		assert.equal((await sandboxes.create({ id: "a", name: "web" })).state, "running");
	});

	it("does not hinder a destroy from making room, which is repeated until it is recorded", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper: "disk" });
		fault(host);
		await assert.rejects(sandboxes.destroy("a"), { code: "unavailable" });
		assert.deepEqual([host.backend.alive.size, host.backend.uppers.size], [0, 0]);
		assert.equal(sandboxes.get("a").state, "destroying");
		repair(host);
		await sandboxes.destroy("a");
		assert.throws(() => sandboxes.get("a"), { code: "not_found" });
	});

	it("refuses a stop and an extension before anything has changed", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a", upper: "disk" });
		fault(host);
		await assert.rejects(sandboxes.stop("a"), { code: "unavailable" });
		await assert.rejects(sandboxes.extend("a", 5000), { code: "unavailable" });
		assert.equal(sandboxes.get("a").state, "running");
		assert.equal(sandboxes.get("a").expiresAt, null);
		assert.ok(host.backend.alive.has("a"));
		assert.deepEqual(await sandboxes.listProcesses("a"), []);
	});

	it("does not hide that a sandbox has ended", async () => {
		using host = new FakeHost();
		const sandboxes = await host.open();
		await sandboxes.create({ id: "a" });
		fault(host);
		host.backend.die("a");
		await settle();
		assert.equal(sandboxes.get("a").state, "failed");
		assert.deepEqual(
			sandboxes.list({}).sandboxes.map(({ state }) => state),
			["failed"],
		);
		assert.equal((await host.open()).get("a").state, "failed");
	});
});
