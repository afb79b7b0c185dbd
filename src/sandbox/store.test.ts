import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { SandboxStore } from "./store.ts";
import type { Sandbox } from "./types.ts";

function sandbox(id: string, over: Partial<Sandbox> = {}): Sandbox {
	return {
		id,
		name: null,
		state: "creating",
		reason: null,
		backend: "namespace",
		layers: ["000-base-debian"],
		env: {},
		user: "",
		workdir: "/",
		hostname: id,
		labels: {},
		limits: { cpuMillis: 1, memoryMiB: 1, swapMiB: 0, processes: 1, openFiles: 1, diskMiB: 1 },
		upper: "tmpfs",
		network: "none",
		createdAt: "2026-01-01T00:00:00.000Z",
		...over,
	};
}

describe("SandboxStore", () => {
	let store: SandboxStore;
	beforeEach(() => {
		store = new SandboxStore(":memory:");
	});
	afterEach(() => store.close());

	it("gives back what was inserted", () => {
		const inserted = sandbox("a", { labels: { team: "x" }, env: { A: "1" } });
		store.insert(inserted, 7);
		assert.deepEqual(store.find("a"), { slot: 7, sandbox: inserted });
	});

	it("refuses an id and a name that a living sandbox has", () => {
		store.insert(sandbox("a", { name: "web" }), 0);
		assert.throws(() => store.insert(sandbox("a"), 1), { code: "conflict", message: /the id a is taken/ });
		assert.throws(() => store.insert(sandbox("b", { name: "web" }), 1), {
			code: "conflict",
			message: /the name web is taken/,
		});
	});

	it("gives id, name and slot of a destroyed sandbox to a new one", () => {
		store.insert(sandbox("a", { name: "web" }), 0);
		store.setState("a", "destroyed");
		store.insert(sandbox("a", { name: "web" }), 0);
		assert.equal(store.find("a")?.sandbox.state, "creating");
	});

	it("lists in order of creation, page by page, and says where the end is", () => {
		for (let n = 0; n < 5; n++) store.insert(sandbox(`s${n}`), n);
		const first = store.list({ limit: 2 });
		const second = store.list({ limit: 2, cursor: first.cursor ?? undefined });
		const third = store.list({ limit: 2, cursor: second.cursor ?? undefined });
		const ids = [first, second, third].map((page) => page.sandboxes.map(({ id }) => id));
		assert.deepEqual(ids, [["s0", "s1"], ["s2", "s3"], ["s4"]]);
		assert.equal(third.cursor, null);
	});

	it("filters by all labels, by name and by state", () => {
		store.insert(sandbox("a", { labels: { team: "x", tier: "1" }, name: "one" }), 0);
		store.insert(sandbox("b", { labels: { team: "x" } }), 1);
		store.insert(sandbox("c"), 2);
		store.setState("c", "destroyed");
		const ids = (query: Parameters<SandboxStore["list"]>[0]) =>
			store.list(query).sandboxes.map(({ id }) => id);
		assert.deepEqual(ids({ labels: { team: "x" } }), ["a", "b"]);
		assert.deepEqual(ids({ labels: { team: "x", tier: "1" } }), ["a"]);
		assert.deepEqual(ids({ name: "one" }), ["a"]);
		assert.deepEqual(ids({ state: "destroyed" }), ["c"]);
		assert.deepEqual(ids({}), ["a", "b"]);
	});

	it("refuses a cursor that it did not make", () => {
		assert.throws(() => store.list({ cursor: "../../x" }), { code: "invalid_argument" });
	});

	it("refuses a database that another store has open, and opens it afterwards", () => {
		const folder = mkdtempSync(join(tmpdir(), "shale-store-"));
		const hostPath = join(folder, "shale.db");
		const first = new SandboxStore(hostPath);
		assert.throws(() => new SandboxStore(hostPath), { code: "conflict" });
		first.insert(sandbox("a"), 0);
		first.close();
		const second = new SandboxStore(hostPath);
		assert.equal(second.find("a")?.slot, 0);
		second.close();
		rmSync(folder, { recursive: true });
	});

	it("says what cannot be opened", () => {
		assert.throws(() => new SandboxStore("/nowhere/shale.db"), {
			code: "unavailable",
			message: /\/nowhere\/shale\.db/,
		});
	});

	it("takes label keys and values literally", () => {
		store.insert(sandbox("a", { labels: { "x'; --": '"' } }), 0);
		assert.equal(store.list({ labels: { "x'; --": '"' } }).sandboxes.length, 1);
	});
});
