import assert from "node:assert/strict";
import { test } from "node:test";
import { collect } from "../../test/support/collect.ts";
import { FakeDaemon } from "../../test/support/fake-daemon.ts";
import { Sandbox, Shale, ShaleApiError, ShaleConnectionError, systemErrorCode } from "./index.ts";

test("create gives a handle and await using destroys the sandbox", async () => {
	await using daemon = await FakeDaemon.start();
	{
		await using sandbox = await Sandbox.create({ url: daemon.url, token: "t0ken", name: "box" });
		assert.equal((await sandbox.info()).name, "box");
		assert.equal(daemon.requests[0]?.headers.authorization, "Bearer t0ken");
		assert.deepEqual(daemon.requests[0]?.body, { name: "box", id: sandbox.id });
	}
	assert.equal(daemon.sandboxes.size, 0);
});

test("an error answer becomes a ShaleApiError with code, status, hint and retryable", async () => {
	await using daemon = await FakeDaemon.start();
	const shale = new Shale({ url: daemon.url });
	const expected = { code: "not_found", status: 404, retryable: false, hint: "See ls." };
	await assert.rejects(shale.sandboxes.connect("nobody"), (error: unknown) => {
		assert.ok(error instanceof ShaleApiError);
		const { code, status, retryable, hint } = error;
		assert.deepEqual({ code, status, retryable, hint }, expected);
		return true;
	});
	daemon.refuseCreate = { status: 418, body: { code: "teapot", message: "short and stout" } };
	await assert.rejects(shale.sandboxes.create(), {
		code: "internal",
		status: 418,
		message: "short and stout",
	});
});

test("events are chosen, gone on from by id, and told until the stream breaks", async () => {
	await using daemon = await FakeDaemon.start();
	const shale = new Shale({ url: daemon.url });
	const seen: string[] = [];
	const listen = async () => {
		const events = await shale.events({ sandbox: "a", types: ["sandbox.failed", "host.leak"], after: "e-1" });
		for await (const { id, type } of events) seen.push(`${id} ${type}`);
	};
	await assert.rejects(listen(), ShaleConnectionError);
	assert.deepEqual(seen, ["e-2 reset", "e-3 sandbox.failed"]);
	const request = daemon.requests.at(-1);
	assert.equal(request?.path, "/v1/events?sandbox=a&type=sandbox.failed&type=host.leak");
	assert.equal(request?.headers["last-event-id"], "e-1");
});

test("gc says what it removed and what is left", async () => {
	await using daemon = await FakeDaemon.start();
	const shale = new Shale({ url: daemon.url });
	const { dryRun, removed, left } = await shale.gc();
	assert.deepEqual([dryRun, removed[0]?.kind, left[0]?.name], [false, "cgroup", "/dev/loop7"]);
	assert.equal((await shale.gc({ dryRun: true })).dryRun, true);
});

test("ids cannot leave their place in the path", async () => {
	await using daemon = await FakeDaemon.start();
	const shale = new Shale({ url: `${daemon.url}/` });
	await assert.rejects(shale.sandboxes.get("../version?x#y"), ShaleApiError);
	assert.deepEqual(daemon.paths("GET"), ["/v1/sandboxes/..%2Fversion%3Fx%23y"]);
});

test("no daemon is a ShaleConnectionError whose cause tells the system's error", async () => {
	// Nothing listens there any more.
	const daemon = await FakeDaemon.start();
	await daemon[Symbol.asyncDispose]();
	const shale = new Shale({ url: daemon.url });
	await assert.rejects(shale.version(), (error: unknown) => {
		assert.ok(error instanceof ShaleConnectionError);
		assert.equal(systemErrorCode(error), "ECONNREFUSED");
		return true;
	});
});

test("an aborted call rejects with the signal's reason", async () => {
	await using daemon = await FakeDaemon.start();
	const reason = new Error("enough");
	await assert.rejects(new Shale({ url: daemon.url }).version({ signal: AbortSignal.abort(reason) }), reason);
});

test("all turns the pages and list passes the filter", async () => {
	await using daemon = await FakeDaemon.start();
	for (const id of ["a", "b", "c", "d", "e"]) daemon.addSandbox({ id });
	const { sandboxes } = new Shale({ url: daemon.url });
	const ids = (await collect(sandboxes.all())).map(({ id }) => id);
	assert.deepEqual(ids, ["a", "b", "c", "d", "e"]);
	await sandboxes.list({ labels: { a: "b=c", d: "e" }, limit: 5, state: "running" });
	const [last] = daemon.paths("GET").slice(-1);
	assert.equal(last, "/v1/sandboxes?label=a%3Db%3Dc&label=d%3De&state=running&limit=5");
});

test("a sandbox is stopped, started, and given another end", async () => {
	await using daemon = await FakeDaemon.start();
	const sandbox = new Shale({ url: daemon.url }).sandboxes.open(daemon.addSandbox());
	assert.equal((await sandbox.stop()).state, "stopped");
	assert.equal((await sandbox.start()).state, "running");
	for (const [timeout, lifetimeMs] of [
		["5m", 300_000],
		["1.5h", 5_400_000],
		[700, 700],
		[null, null],
	] as const) {
		await sandbox.setTimeout(timeout);
		assert.deepEqual(daemon.requests.at(-1)?.body, { lifetimeMs });
	}
	await assert.rejects(sandbox.setTimeout("5 minutes"), TypeError);
});

test("stats, plans and processes are read", async () => {
	await using daemon = await FakeDaemon.start();
	const shale = new Shale({ url: daemon.url });
	const sandbox = shale.sandboxes.open(daemon.addSandbox());
	assert.equal((await sandbox.stats()).processes, 2);
	assert.equal(await sandbox.plan(), "clone user mount\n");
	assert.equal(await shale.sandboxes.plan(), "mount proc /proc\n");
	assert.equal((await sandbox.processes.start(["sleep", "9"], { id: "p-8" })).id, "p-8");
	assert.equal((await sandbox.processes.list()).length, 1);
	assert.equal((await sandbox.processes.get("p-9")).id, "p-9");
	await sandbox.processes.signal("p-1", "SIGTERM", { group: false });
	assert.deepEqual(daemon.requests.at(-1)?.body, { signal: "SIGTERM", group: false });
	await sandbox.processes.remove("p-1");
	const events = await collect(sandbox.processes.output("p-1", { stdoutAfter: 3 }));
	assert.deepEqual(
		events.map(({ type }) => type),
		["dropped", "output", "output", "end"],
	);
	assert.match(daemon.requests.at(-1)?.path ?? "", /stdoutAfter=3&follow=false$/);
});

test("a build reports its progress and gives the layer, or throws what went wrong", async () => {
	await using daemon = await FakeDaemon.start();
	const { layers } = new Shale({ url: daemon.url });
	const steps: string[] = [];
	const layer = await layers.build("100-python3", { onProgress: ({ step }) => steps.push(step) });
	assert.equal(layer.sizeBytes, 2048);
	assert.deepEqual(steps, ["fetch", "pack"]);
	await assert.rejects(layers.build("broken"), { code: "unsupported", status: 422, hint: "Install it." });
});

test("an image is sent as it is", async () => {
	await using daemon = await FakeDaemon.start();
	const { layers } = new Shale({ url: daemon.url });
	assert.equal((await layers.import("200-x", new Blob(["abcde"]))).sizeBytes, 5);
	assert.equal((await layers.import("200-x", new Blob(["abc"]).stream())).sizeBytes, 3);
	assert.equal((await layers.list()).length, 1);
	assert.equal((await layers.recipes()).length, 1);
	await assert.rejects(layers.remove("000-base-debian"), { code: "conflict" });
});

test("a URL that is not http is refused", () => {
	assert.throws(() => new Shale({ url: "ftp://x" }), TypeError);
});
