import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openDatabase } from "./database.ts";
import { SandboxStore, type StoredSandbox } from "./store.ts";
import type { Sandbox, SandboxState } from "./types.ts";

function stored(id: string, over: Partial<Sandbox> = {}, slot = 0): StoredSandbox {
	const limits = { cpuMillis: 1, memoryMiB: 1, swapMiB: 0, processes: 1, openFiles: 1, diskMiB: 1 };
	return {
		sandbox: {
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
			limits,
			upper: "tmpfs",
			network: "none",
			createdAt: "2026-01-01T00:00:00.000Z",
			expiresAt: null,
			idleTimeoutMs: null,
			onExpiry: "destroy",
			...over,
		},
		slot,
		digest: "d",
		lifetimeMs: null,
		deadline: null,
		activity: null,
		launch: null,
	};
}

function inState(one: StoredSandbox, state: SandboxState): StoredSandbox {
	return { ...one, sandbox: { ...one.sandbox, state } };
}

describe("SandboxStore", () => {
	let folder: string;
	let hostPath: string;
	let database: DatabaseSync;
	let store: SandboxStore;
	const open = () =>
		new SandboxStore(hostPath, (path) => {
			database = openDatabase(path);
			return database;
		});
	beforeEach(() => {
		folder = mkdtempSync(join(tmpdir(), "shale-store-"));
		hostPath = join(folder, "shale.db");
		store = open();
	});
	afterEach(() => {
		store.close();
		rmSync(folder, { recursive: true });
	});

	it("gives back what was inserted and what was saved, also after it was opened again", () => {
		const inserted = stored("a", { labels: { team: "x" }, env: { A: "1" }, upper: "disk" }, 7);
		store.insert(inserted);
		assert.deepEqual(store.find("a"), inserted);
		const moment = { bootId: "b", uptimeMs: 5, wallMs: 1000 };
		const saved: StoredSandbox = {
			...inserted,
			sandbox: { ...inserted.sandbox, state: "running", expiresAt: "1970-01-01T00:00:01.000Z" },
			lifetimeMs: 9,
			deadline: moment,
			activity: moment,
			launch: { bootId: "b", record: { hostPid: 3, startTicks: 99 } },
		};
		store.save(saved);
		store.close();
		store = open();
		assert.deepEqual(store.find("a"), saved);
		assert.deepEqual(store.listLiving(), [saved]);
	});

	it("refuses an id and a name that a living sandbox has", () => {
		store.insert(stored("a", { name: "web" }));
		assert.throws(() => store.insert(stored("a")), { code: "conflict", message: /the id a is taken/ });
		assert.throws(() => store.insert(stored("b", { name: "web" })), {
			code: "conflict",
			message: /the name web is taken/,
			details: { taken: "name", id: "a" },
		});
	});

	it("gives id, name and slot of a destroyed sandbox to a new one", () => {
		const first = stored("a", { name: "web" });
		store.insert(first);
		store.save(inState(first, "destroyed"));
		store.insert(first);
		assert.equal(store.find("a")?.sandbox.state, "creating");
	});

	it("lists in order of creation, page by page, and says where the end is", () => {
		for (let n = 0; n < 5; n++) store.insert(stored(`s${n}`, {}, n));
		const first = store.list({ limit: 2 });
		const second = store.list({ limit: 2, cursor: first.cursor ?? undefined });
		const third = store.list({ limit: 2, cursor: second.cursor ?? undefined });
		const ids = [first, second, third].map((page) => page.sandboxes.map(({ sandbox }) => sandbox.id));
		assert.deepEqual(ids, [["s0", "s1"], ["s2", "s3"], ["s4"]]);
		assert.equal(third.cursor, null);
	});

	it("filters by all labels, by name and by state", () => {
		store.insert(stored("a", { labels: { team: "x", tier: "1" }, name: "one" }, 0));
		store.insert(stored("b", { labels: { team: "x" } }, 1));
		store.insert(stored("c", {}, 2));
		store.save(inState(stored("c"), "destroyed"));
		const ids = (query: Parameters<SandboxStore["list"]>[0]) =>
			store.list(query).sandboxes.map(({ sandbox }) => sandbox.id);
		assert.deepEqual(ids({ labels: { team: "x" } }), ["a", "b"]);
		assert.deepEqual(ids({ labels: { team: "x", tier: "1" } }), ["a"]);
		assert.deepEqual(ids({ name: "one" }), ["a"]);
		assert.deepEqual(ids({ state: "destroyed" }), ["c"]);
		assert.deepEqual(ids({}), ["a", "b"]);
	});

	it("refuses a cursor that it did not make", () => {
		assert.throws(() => store.list({ cursor: "../../x" }), { code: "invalid_argument" });
	});

	it("takes label keys and values literally", () => {
		store.insert(stored("a", { labels: { "x'; --": '"' } }));
		assert.equal(store.list({ labels: { "x'; --": '"' } }).sandboxes.length, 1);
	});

	it("refuses a database that another store has open, and opens it afterwards", () => {
		assert.throws(() => new SandboxStore(hostPath), { code: "conflict", hint: /Another daemon/ });
		store.insert(stored("a"));
		store.close();
		store = open();
		assert.equal(store.find("a")?.slot, 0);
	});

	it("says what cannot be opened", () => {
		assert.throws(() => new SandboxStore("/nowhere/shale.db"), {
			code: "unavailable",
			message: /\/nowhere\/shale\.db/,
		});
	});

	it("brings the database of an older Shale along, with what is in it", () => {
		store.close();
		rmSync(hostPath);
		const old = new DatabaseSync(hostPath);
		old.exec(VERSION_1);
		const { sandbox } = stored("old", { name: "web" });
		const {
			id,
			name,
			state,
			reason: _,
			createdAt,
			expiresAt: __,
			idleTimeoutMs: ___,
			onExpiry: ____,
			...spec
		} = sandbox;
		old
			.prepare("INSERT INTO sandboxes (id, name, state, slot, spec, created_at) VALUES (?, ?, ?, ?, ?, ?)")
			.run(id, name, state, 4, JSON.stringify(spec), createdAt);
		old.close();
		store = open();
		assert.deepEqual(store.listLiving(), [{ ...stored("old", { name: "web" }, 4), digest: null }]);
		store.insert(stored("new"));
		store.close();
		store = open();
		assert.equal(store.listLiving().length, 2);
	});

	it("refuses the database of a newer Shale and leaves it as it is", () => {
		database.exec("PRAGMA user_version = 99");
		store.close();
		assert.throws(open, { code: "conflict", message: /schema 99/ });
		const untouched = new DatabaseSync(hostPath);
		assert.deepEqual({ ...untouched.prepare("PRAGMA user_version").get() }, { user_version: 99 });
		untouched.close();
		store = new SandboxStore(":memory:");
	});

	for (const [title, damage] of [
		["that is no database", () => writeFileSync(hostPath, "nonsense".repeat(1000))],
		["that was cut", () => truncateSync(hostPath, 8192)],
		[
			"with a damaged page",
			() => {
				const bytes = readFileSync(hostPath);
				bytes.fill(0xee, 4096, 12_288);
				writeFileSync(hostPath, bytes);
			},
		],
	] as const) {
		it(`refuses a file ${title}, names it and says what to do`, () => {
			for (let n = 0; n < 100; n++) store.insert(stored(`s${n}`, {}, n));
			store.close();
			damage();
			const damaged = readFileSync(hostPath);
			assert.throws(open, (error: { code?: string; message?: string; hint?: string }) => {
				assert.equal(error.code, "unavailable");
				assert.ok(error.message?.includes(hostPath), error.message);
				assert.match(error.hint ?? "", /is damaged\. Put a copy .* in its place, or move it away/);
				return true;
			});
			assert.ok(readFileSync(hostPath).equals(damaged), "nothing was written to it");
			store = new SandboxStore(":memory:");
		});
	}

	for (const [title, code, fault, hint] of [
		["cannot be written any more", "unavailable", "PRAGMA query_only = ON", /cannot be written/],
		["is full", "resource_exhausted", "PRAGMA max_page_count = 1", /The disk of the data folder is full/],
	] as const) {
		it(`that ${title} refuses with the reason, changes nothing, and goes on afterwards`, () => {
			store.insert(stored("a", {}, 0));
			database.exec(fault);
			assert.throws(
				() => {
					for (let n = 1; n < 100; n++) store.insert(stored(`s${n}`, { env: { A: "x".repeat(4000) } }, n));
				},
				{ code, hint },
			);
			const before = store.listLiving();
			database.exec("PRAGMA query_only = OFF; PRAGMA max_page_count = 10000");
			assert.deepEqual(store.listLiving(), before);
			store.insert(stored("b", {}, 200));
		});
	}

	it("forgets a record that could not be removed before its id is wanted again", () => {
		store.insert(stored("a"));
		database.exec("PRAGMA query_only = ON");
		assert.throws(() => store.remove("a"), { code: "unavailable" });
		assert.deepEqual(store.list({}).sandboxes, []);
		database.exec("PRAGMA query_only = OFF");
		store.insert(stored("a"));
		assert.equal(store.list({}).sandboxes.length, 1);
	});
});

/** As the first Shale made it. */
const VERSION_1 = `
	CREATE TABLE sandboxes (
		sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, name TEXT, state TEXT NOT NULL, reason TEXT,
		slot INTEGER NOT NULL, spec TEXT NOT NULL, created_at TEXT NOT NULL, destroyed_at INTEGER
	) STRICT;
	CREATE UNIQUE INDEX sandboxes_id ON sandboxes (id) WHERE state <> 'destroyed';
	CREATE UNIQUE INDEX sandboxes_name ON sandboxes (name) WHERE state <> 'destroyed' AND name IS NOT NULL;
	CREATE UNIQUE INDEX sandboxes_slot ON sandboxes (slot) WHERE state <> 'destroyed';
	CREATE INDEX sandboxes_by_id ON sandboxes (id, sequence);
	CREATE INDEX sandboxes_destroyed ON sandboxes (destroyed_at) WHERE state = 'destroyed';
	PRAGMA user_version = 1;
`;
