/** The database file: opened under a lock, checked, brought to the present schema; and what its failures mean. */
import { DatabaseSync } from "node:sqlite";
import { type ErrorCode, ShaleError } from "../lib/errors.ts";

/** Each leads from the version before it, the first from nothing. Never changed, only added to. */
const MIGRATIONS = [
	`
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
	`,
	`
	ALTER TABLE sandboxes ADD COLUMN digest TEXT;
	ALTER TABLE sandboxes ADD COLUMN lifetime_ms INTEGER;
	ALTER TABLE sandboxes ADD COLUMN deadline TEXT;
	ALTER TABLE sandboxes ADD COLUMN activity TEXT;
	ALTER TABLE sandboxes ADD COLUMN launch TEXT;
	UPDATE sandboxes SET spec = json_set(spec, '$.idleTimeoutMs', NULL, '$.onExpiry', 'destroy');
	`,
] as const;

/**
 * Opens or makes the database; `:memory:` for tests. The lock is the kernel's, on the file: it ends with the
 * daemon, however that ends.
 * @throws ShaleError `conflict` when another daemon has it open or a newer Shale made it; `unavailable` when it is
 * damaged or cannot be opened, with what to do about it.
 */
export function openDatabase(hostPath: string): DatabaseSync {
	let db: DatabaseSync | undefined;
	try {
		db = new DatabaseSync(hostPath);
		// WAL with NORMAL survives the death of the daemon whole; a power cut may lose the last commits, which
		// matters to sandboxes with a disk upper alone: their commits ask for FULL.
		db.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
		db.exec("BEGIN EXCLUSIVE; COMMIT");
		check(db, hostPath);
		migrate(db, hostPath);
		return db;
	} catch (error) {
		db?.close();
		throw toDatabaseError(error, { doing: `opening ${hostPath}`, file: hostPath });
	}
}

/** A record that was lost in a damaged page would be a sandbox that nobody owns, which is removed. */
function check(db: DatabaseSync, hostPath: string): void {
	const found = Object.values(db.prepare("PRAGMA quick_check(1)").get() ?? {})[0];
	if (found === "ok") return;
	throw new ShaleError("unavailable", `opening ${hostPath}: ${String(found)}`, {
		hint: damageHint(hostPath),
	});
}

function migrate(db: DatabaseSync, hostPath: string): void {
	const version = Number(db.prepare("PRAGMA user_version").get()?.user_version);
	if (version > MIGRATIONS.length) {
		throw new ShaleError(
			"conflict",
			`${hostPath} has schema ${version}, this Shale knows ${MIGRATIONS.length}`,
			{ hint: "Start the version of Shale that made it, or give another data folder." },
		);
	}
	if (version === MIGRATIONS.length) return;
	const steps = MIGRATIONS.slice(version).join("");
	db.exec(`BEGIN; ${steps} PRAGMA user_version = ${MIGRATIONS.length}; COMMIT`);
}

interface Failure {
	readonly code: ErrorCode;
	readonly hint: (file: string) => string;
}

/** By primary result code, sqlite.org/rescode.html. */
const FAILURES: Readonly<Record<number, Failure>> = {
	// SQLITE_BUSY
	5: {
		code: "conflict",
		hint: () => "Another daemon works on this data folder: stop it, or set SHALE_DATA to another folder.",
	},
	// SQLITE_READONLY
	8: {
		code: "unavailable",
		hint: (file) => `${file} cannot be written: see how the file system of the data folder is mounted.`,
	},
	// SQLITE_IOERR
	10: {
		code: "unavailable",
		hint: (file) =>
			`Reading or writing ${file} failed: the kernel's log (dmesg) may say more about the disk.`,
	},
	// SQLITE_CORRUPT
	11: { code: "unavailable", hint: damageHint },
	// SQLITE_FULL
	13: {
		code: "resource_exhausted",
		hint: () =>
			"The disk of the data folder is full: free some, for example by shale rm of what is not needed.",
	},
	// SQLITE_CANTOPEN
	14: {
		code: "unavailable",
		hint: () => "The file must be a database of Shale in a folder that the daemon can write to.",
	},
	// SQLITE_NOTADB
	26: { code: "unavailable", hint: damageHint },
};

function damageHint(file: string): string {
	return (
		`${file} is damaged. Put a copy from a backup in its place, or move it away and start again: then all ` +
		"sandboxes are removed with what is in them, so save the folder `uppers` beside it first."
	);
}

/** A failure of SQLite as a ShaleError; other errors stay as they are. `file`: as users shall read of it. */
export function toDatabaseError(
	error: unknown,
	{ doing, file }: { readonly doing: string; readonly file: string },
): unknown {
	if (!(error instanceof Error && "errcode" in error)) return error;
	const failure = FAILURES[Number(error.errcode) & 0xff];
	const hint = failure?.hint(file);
	return new ShaleError(failure?.code ?? "internal", `${doing}: ${error.message}`, {
		...(hint === undefined ? {} : { hint }),
		cause: error,
	});
}
