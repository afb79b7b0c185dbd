/**
 * What should exist: one SQLite database, one row a sandbox. The truth about what does exist is the kernel's.
 * Rows of destroyed sandboxes stay for a day, so that destroying twice is told apart from a mistyped id.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { ShaleError } from "../lib/errors.ts";
import type { ListSandboxes, Sandbox, SandboxPage, SandboxState } from "./types.ts";

const SCHEMA_VERSION = 1;

const SCHEMA = `
	CREATE TABLE sandboxes (
		sequence INTEGER PRIMARY KEY AUTOINCREMENT,
		id TEXT NOT NULL,
		name TEXT,
		state TEXT NOT NULL,
		reason TEXT,
		slot INTEGER NOT NULL,
		spec TEXT NOT NULL,
		created_at TEXT NOT NULL,
		destroyed_at INTEGER
	) STRICT;
	CREATE UNIQUE INDEX sandboxes_id ON sandboxes (id) WHERE state <> 'destroyed';
	CREATE UNIQUE INDEX sandboxes_name ON sandboxes (name) WHERE state <> 'destroyed' AND name IS NOT NULL;
	CREATE UNIQUE INDEX sandboxes_slot ON sandboxes (slot) WHERE state <> 'destroyed';
	CREATE INDEX sandboxes_by_id ON sandboxes (id, sequence);
	CREATE INDEX sandboxes_destroyed ON sandboxes (destroyed_at) WHERE state = 'destroyed';
`;

const DEFAULT_PAGE = 100;
const DESTROYED_KEPT_MS = 24 * 3_600_000;

type Spec = Omit<Sandbox, "id" | "name" | "state" | "reason" | "createdAt">;

interface Row {
	readonly sequence: number;
	readonly id: string;
	readonly name: string | null;
	readonly state: SandboxState;
	readonly reason: string | null;
	readonly slot: number;
	readonly spec: string;
	readonly created_at: string;
}

export interface StoredSandbox {
	readonly sandbox: Sandbox;
	readonly slot: number;
}

export class SandboxStore {
	readonly #db: DatabaseSync;
	readonly #insert: StatementSync;
	readonly #update: StatementSync;
	readonly #find: StatementSync;
	readonly #findTaken: StatementSync;
	readonly #forgetOld: StatementSync;

	/**
	 * Opens or makes the database; `:memory:` for tests. Throws `conflict` when another daemon has it open or
	 * when another version of Shale made it, `unavailable` when it cannot be opened at all.
	 */
	constructor(hostPath: string) {
		this.#db = openLocked(hostPath);
		this.#migrate(hostPath);
		this.#insert = this.#db.prepare(
			"INSERT INTO sandboxes (id, name, state, slot, spec, created_at) VALUES (?, ?, ?, ?, ?, ?)",
		);
		this.#update = this.#db.prepare(
			"UPDATE sandboxes SET state = ?, reason = ?, destroyed_at = ? WHERE id = ? AND state <> 'destroyed'",
		);
		this.#findTaken = this.#db.prepare(`
			SELECT id FROM sandboxes WHERE state <> 'destroyed' AND id = ?
			UNION ALL SELECT id FROM sandboxes WHERE state <> 'destroyed' AND name = ?
		`);
		this.#forgetOld = this.#db.prepare(
			"DELETE FROM sandboxes WHERE state = 'destroyed' AND destroyed_at < ?",
		);
		this.#find = this.#db.prepare("SELECT * FROM sandboxes WHERE id = ? ORDER BY sequence DESC LIMIT 1");
	}

	#migrate(hostPath: string): void {
		const version = Number(this.#db.prepare("PRAGMA user_version").get()?.user_version);
		if (version === 0) {
			this.#db.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
		} else if (version !== SCHEMA_VERSION) {
			throw new ShaleError(
				"conflict",
				`${hostPath} has schema ${version}, this Shale knows ${SCHEMA_VERSION}`,
				{
					hint: "Start the version of Shale that made it, or give another data folder.",
				},
			);
		}
	}

	/** @throws ShaleError `conflict` when the id or the name belongs to a living sandbox. */
	insert(sandbox: Sandbox, slot: number): void {
		this.#forgetOld.run(Date.now() - DESTROYED_KEPT_MS);
		const { id, name, state, reason: _, createdAt, ...spec } = sandbox;
		const taken = this.#findTaken.get(id, name);
		if (taken) {
			const what = taken.id === id ? `id ${id}` : `name ${name}`;
			throw new ShaleError("conflict", `creating the sandbox: the ${what} is taken`, {
				hint: "Choose another one, or destroy the sandbox that has it.",
				details: { id: taken.id },
			});
		}
		this.#insert.run(id, name, state, slot, JSON.stringify(spec satisfies Spec), createdAt);
	}

	/** Notes a step of its life; `destroyed` frees id, name and slot. */
	setState(id: string, state: SandboxState, reason: string | null = null): void {
		this.#update.run(state, reason, state === "destroyed" ? Date.now() : null, id);
	}

	/** The newest sandbox of that id, also a destroyed one. */
	find(id: string): StoredSandbox | undefined {
		const row = this.#find.get(id) as Row | undefined;
		return row && toStored(row);
	}

	/** Drops a record as if it had never been: for a create that failed. */
	remove(id: string): void {
		this.#db.prepare("DELETE FROM sandboxes WHERE id = ? AND state <> 'destroyed'").run(id);
	}

	listLiving(): StoredSandbox[] {
		const rows = this.#db.prepare("SELECT * FROM sandboxes WHERE state <> 'destroyed'").all();
		return (rows as unknown as Row[]).map(toStored);
	}

	/** In order of creation. Destroyed ones only when the state is asked for. */
	list(query: ListSandboxes): SandboxPage {
		const limit = query.limit ?? DEFAULT_PAGE;
		const conditions = ["sequence > ?", query.state ? "state = ?" : "state <> ?"];
		const values: (string | number)[] = [parseCursor(query.cursor), query.state ?? "destroyed"];
		if (query.name !== undefined) {
			conditions.push("name = ?");
			values.push(query.name);
		}
		for (const [key, value] of Object.entries(query.labels ?? {})) {
			conditions.push("EXISTS (SELECT 1 FROM json_each(spec, '$.labels') WHERE key = ? AND value = ?)");
			values.push(key, value);
		}
		const rows = this.#db
			.prepare(`SELECT * FROM sandboxes WHERE ${conditions.join(" AND ")} ORDER BY sequence LIMIT ?`)
			.all(...values, limit + 1) as unknown as Row[];
		const page = rows.slice(0, limit);
		const last = rows.length > limit ? page.at(-1) : undefined;
		return {
			sandboxes: page.map((row) => toStored(row).sandbox),
			cursor: last ? last.sequence.toString(36) : null,
		};
	}

	close(): void {
		this.#db.close();
	}
}

/** sqlite3.h: another connection holds the lock. */
const SQLITE_BUSY = 5;

/** The lock is the kernel's, on the file: it ends with the daemon, however that ends. */
function openLocked(hostPath: string): DatabaseSync {
	let db: DatabaseSync | undefined;
	try {
		db = new DatabaseSync(hostPath);
		// WAL with NORMAL survives the death of the daemon whole; only a power cut may lose the last commits,
		// and after that no sandbox lives whose record they were.
		db.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
		db.exec("BEGIN EXCLUSIVE; COMMIT");
		return db;
	} catch (error) {
		db?.close();
		const isTaken = error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
		throw new ShaleError(isTaken ? "conflict" : "unavailable", `opening ${hostPath}: ${String(error)}`, {
			hint: isTaken
				? "Another daemon works on this data folder: stop it, or set SHALE_DATA to another folder."
				: "The file must be a database of Shale in a folder that the daemon can write to.",
			cause: error,
		});
	}
}

function toStored(row: Row): StoredSandbox {
	const spec = JSON.parse(row.spec) as Spec;
	const { id, name, state, reason } = row;
	return { slot: row.slot, sandbox: { id, name, state, reason, ...spec, createdAt: row.created_at } };
}

function parseCursor(cursor: string | undefined): number {
	if (cursor === undefined) return 0;
	const sequence = /^[0-9a-z]{1,10}$/.test(cursor) ? Number.parseInt(cursor, 36) : Number.NaN;
	if (!Number.isSafeInteger(sequence)) {
		throw new ShaleError("invalid_argument", `cursor: "${cursor}" was not made by a list of sandboxes`);
	}
	return sequence;
}
