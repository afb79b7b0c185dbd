/**
 * What should exist: one SQLite database, one row a sandbox. The truth about what does exist is the kernel's.
 * Rows of destroyed sandboxes stay for a day, so that destroying twice is told apart from a mistyped id.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { BackendRecord } from "../backends/backend.ts";
import { ShaleError } from "../lib/errors.ts";
import type { Moment } from "../linux/clock.ts";
import { openDatabase, toDatabaseError } from "./database.ts";
import type { ListSandboxes, Sandbox, SandboxState } from "./types.ts";

const DEFAULT_PAGE = 100;
const DESTROYED_KEPT_MS = 24 * 3_600_000;

/** A sandbox as its users see it, and what only the core knows of it. */
export interface StoredSandbox {
	/** `expiresAt` as the host's clock was when the deadline was set. */
	readonly sandbox: Sandbox;
	readonly slot: number;
	/** Of the request that made it; null for one that an older Shale made. */
	readonly digest: string | null;
	readonly lifetimeMs: number | null;
	/** When its lifetime ends. */
	readonly deadline: Moment | null;
	/** When it was last used, give or take some seconds; null for one without an idle timeout. */
	readonly activity: Moment | null;
	/** How its backend finds it again, and in which boot it was launched; null when nothing of it runs. */
	readonly launch: Launch | null;
}

export interface Launch {
	readonly bootId: string;
	readonly record: BackendRecord;
}

/** What of a sandbox never changes and is not looked for. */
type Spec = Omit<Sandbox, "id" | "name" | "state" | "reason" | "createdAt" | "expiresAt">;

interface Row {
	readonly sequence: number;
	readonly id: string;
	readonly name: string | null;
	readonly state: SandboxState;
	readonly reason: string | null;
	readonly slot: number;
	readonly spec: string;
	readonly created_at: string;
	readonly digest: string | null;
	readonly lifetime_ms: number | null;
	readonly deadline: string | null;
	readonly activity: string | null;
	readonly launch: string | null;
}

export interface StoredPage {
	readonly sandboxes: readonly StoredSandbox[];
	readonly cursor: string | null;
}

/** Every method throws ShaleError `unavailable` when the database cannot be read or written; then nothing has changed. */
export class SandboxStore {
	readonly #db: DatabaseSync;
	readonly #insert: StatementSync;
	readonly #update: StatementSync;
	readonly #find: StatementSync;
	readonly #findTaken: StatementSync;
	readonly #remove: StatementSync;
	readonly #forgetOld: StatementSync;
	/** Ids of records that could not be removed when they should have been. */
	readonly #unremoved = new Set<string>();

	/** Opens or makes the database, see {@link openDatabase}. */
	constructor(hostPath: string, open: (hostPath: string) => DatabaseSync = openDatabase) {
		this.#db = open(hostPath);
		this.#insert = this.#db.prepare(`
			INSERT INTO sandboxes (id, name, slot, spec, created_at, digest, state, reason, lifetime_ms, deadline,
				activity, launch) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		`);
		this.#update = this.#db.prepare(`
			UPDATE sandboxes SET state = ?, reason = ?, lifetime_ms = ?, deadline = ?, activity = ?, launch = ?,
				destroyed_at = ? WHERE id = ? AND state <> 'destroyed'
		`);
		this.#findTaken = this.#db.prepare(`
			SELECT id FROM sandboxes WHERE state <> 'destroyed' AND id = ?
			UNION ALL SELECT id FROM sandboxes WHERE state <> 'destroyed' AND name = ?
		`);
		this.#remove = this.#db.prepare("DELETE FROM sandboxes WHERE id = ? AND state <> 'destroyed'");
		this.#forgetOld = this.#db.prepare(
			"DELETE FROM sandboxes WHERE state = 'destroyed' AND destroyed_at < ?",
		);
		this.#find = this.#db.prepare("SELECT * FROM sandboxes WHERE id = ? ORDER BY sequence DESC LIMIT 1");
	}

	/** @throws ShaleError `conflict` when the id or the name belongs to a living sandbox. */
	insert(stored: StoredSandbox): void {
		const { id, name, createdAt, ...rest } = stored.sandbox;
		const { state: _, reason: __, expiresAt: ___, ...spec } = rest;
		this.#guard(`recording sandbox ${id}`, () => {
			for (const unremoved of this.#unremoved) this.#removeRow(unremoved);
			this.#forgetOld.run(Date.now() - DESTROYED_KEPT_MS);
			this.#refuseTaken(id, name);
			const row = [id, name, stored.slot, JSON.stringify(spec satisfies Spec), createdAt, stored.digest];
			this.#durably(stored, () => this.#insert.run(...row, ...changing(stored)));
		});
	}

	/** Writes all of it that changes. A `destroyed` one frees its id, name and slot. */
	save(stored: StoredSandbox): void {
		const { id, state } = stored.sandbox;
		const destroyedAt = state === "destroyed" ? Date.now() : null;
		this.#guard(`recording sandbox ${id}`, () => {
			this.#durably(stored, () => this.#update.run(...changing(stored), destroyedAt, id));
		});
	}

	/** The newest sandbox of that id, also a destroyed one. */
	find(id: string): StoredSandbox | undefined {
		const row = this.#guard("reading a record", () => this.#find.get(id)) as Row | undefined;
		return row && toStored(row);
	}

	/** Drops a record as if it had never been: for a create that failed. What cannot be removed now is removed later. */
	remove(id: string): void {
		this.#unremoved.add(id);
		this.#guard(`removing the record of sandbox ${id}`, () => this.#removeRow(id));
	}

	listLiving(): StoredSandbox[] {
		const rows = this.#guard("reading the records", () =>
			this.#db.prepare("SELECT * FROM sandboxes WHERE state <> 'destroyed' ORDER BY sequence").all(),
		);
		return (rows as unknown as Row[]).map(toStored);
	}

	/** In order of creation. Destroyed ones only when the state is asked for. */
	list(query: ListSandboxes): StoredPage {
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
		const rows = this.#guard("listing sandboxes", () =>
			this.#db
				.prepare(`SELECT * FROM sandboxes WHERE ${conditions.join(" AND ")} ORDER BY sequence LIMIT ?`)
				.all(...values, limit + 1),
		) as unknown as Row[];
		const page = rows.slice(0, limit);
		const last = rows.length > limit ? page.at(-1) : undefined;
		return {
			sandboxes: page.filter(({ id }) => !this.#unremoved.has(id)).map(toStored),
			cursor: last ? last.sequence.toString(36) : null,
		};
	}

	close(): void {
		this.#db.close();
	}

	#refuseTaken(id: string, name: string | null): void {
		const taken = this.#findTaken.get(id, name);
		if (!taken) return;
		const [what, value] = taken.id === id ? ["id", id] : ["name", name];
		throw new ShaleError("conflict", `creating the sandbox: the ${what} ${value} is taken`, {
			hint: "Choose another one, or destroy the sandbox that has it.",
			details: { taken: what, id: taken.id },
		});
	}

	#removeRow(id: string): void {
		this.#remove.run(id);
		this.#unremoved.delete(id);
	}

	/** A disk upper outlives a power cut, and so must its record; a tmpfs upper does not, and needs no fsync. */
	#durably({ sandbox }: StoredSandbox, write: () => void): void {
		const isLasting = sandbox.upper === "disk";
		if (isLasting) this.#db.exec("PRAGMA synchronous = FULL");
		try {
			write();
		} finally {
			if (isLasting) this.#db.exec("PRAGMA synchronous = NORMAL");
		}
	}

	#guard<T>(doing: string, access: () => T): T {
		try {
			return access();
		} catch (error) {
			throw toDatabaseError(error, { doing, file: "The daemon's database" });
		}
	}
}

/** The columns that change, in the order of the statements. */
function changing({ sandbox, lifetimeMs, deadline, activity, launch }: StoredSandbox) {
	const { state, reason } = sandbox;
	return [state, reason, lifetimeMs, toJson(deadline), toJson(activity), toJson(launch)] as const;
}

function toJson(value: object | null): string | null {
	return value && JSON.stringify(value);
}

function fromJson<T>(text: string | null): T | null {
	return text === null ? null : (JSON.parse(text) as T);
}

function toStored(row: Row): StoredSandbox {
	const { id, name, state, reason, slot, digest } = row;
	const deadline = fromJson<Moment>(row.deadline);
	const spec = JSON.parse(row.spec) as Spec;
	const expiresAt = deadline && new Date(deadline.wallMs).toISOString();
	return {
		sandbox: { id, name, state, reason, ...spec, createdAt: row.created_at, expiresAt },
		slot,
		digest,
		lifetimeMs: row.lifetime_ms,
		deadline,
		activity: fromJson<Moment>(row.activity),
		launch: fromJson<Launch>(row.launch),
	};
}

function parseCursor(cursor: string | undefined): number {
	if (cursor === undefined) return 0;
	const sequence = /^[0-9a-z]{1,10}$/.test(cursor) ? Number.parseInt(cursor, 36) : Number.NaN;
	if (!Number.isSafeInteger(sequence)) {
		throw new ShaleError("invalid_argument", `cursor: "${cursor}" was not made by a list of sandboxes`);
	}
	return sequence;
}
