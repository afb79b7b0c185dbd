/** What hosts lack or lose. Each has a defined answer, and when the host has it again, the next command works. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { missingLayers } from "../support/layers.ts";
import { takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { missingRoot } from "../support/requirements.ts";
import { findChildren, ServedDaemon, type ServedDaemonOptions } from "../support/served-daemon.ts";
import { type ShaleRun, shale } from "../support/shale.ts";

const BASE = "000-base-debian";
const MIB = 1024 * 1024;

interface Answer {
	readonly status: number;
	readonly json: Record<string, unknown>;
}

async function request(daemon: ServedDaemon, call: string, body?: unknown): Promise<Answer> {
	const [method = "", path = ""] = call.split(" ");
	const response = await fetch(daemon.url + path, {
		method,
		...(body !== undefined && {
			headers: { "content-type": "application/json" },
			body: JSON.stringify(body),
		}),
	});
	const text = await response.text();
	return { status: response.status, json: text === "" ? {} : JSON.parse(text) };
}

const create = (daemon: ServedDaemon, id: string, fields: Record<string, unknown> = {}) =>
	request(daemon, "POST /v1/sandboxes", { id, limits: { memoryMiB: 64, diskMiB: 32 }, ...fields });

async function expectAlive(daemon: ServedDaemon, id: string): Promise<void> {
	const { json } = await request(daemon, `POST /v1/sandboxes/${id}/exec`, { argv: ["echo", "alive"] });
	assert.equal(json.stdout, "alive\n", JSON.stringify(json));
}

async function expectCreated(
	daemon: ServedDaemon,
	id: string,
	fields?: Record<string, unknown>,
): Promise<void> {
	const { status, json } = await create(daemon, id, fields);
	assert.equal(status, 201, JSON.stringify(json));
	await expectAlive(daemon, id);
}

function expectRefusal({ status, json }: Answer, code: string, told: RegExp): void {
	assert.equal(json.code, code, `${status} ${JSON.stringify(json)}`);
	assert.match(`${json.message} ${json.hint}`, told);
}

async function listIds(daemon: ServedDaemon): Promise<string[]> {
	const { json } = await request(daemon, "GET /v1/sandboxes?limit=1000");
	return (json.sandboxes as { id: string }[]).map(({ id }) => id);
}

/** After a test that failed, for the next ones' sake. */
async function destroyAll(daemon: ServedDaemon): Promise<void> {
	for (const id of await listIds(daemon)) await request(daemon, `DELETE /v1/sandboxes/${id}`);
}

describe("on a host", { skip: missingRoot() || missingLayers(BASE) }, () => {
	/** All sandboxes are destroyed afterwards, which must work whatever the host lacks. */
	async function withDaemon(
		options: Partial<ServedDaemonOptions>,
		use: (daemon: ServedDaemon) => Promise<void>,
	): Promise<void> {
		const daemon = await ServedDaemon.start({ layers: [BASE], ...options });
		try {
			await use(daemon);
			for (const id of await listIds(daemon)) {
				const { status, json } = await request(daemon, `DELETE /v1/sandboxes/${id}`);
				assert.equal(status, 204, JSON.stringify(json));
			}
		} finally {
			await destroyAll(daemon);
			await daemon.stop();
			daemon.removeFolder();
		}
	}

	/** The data folder as a file system of its own, of 256 MiB; layers are copied, as they cannot be linked. */
	const SMALL_DATA = `
		mount -t tmpfs -o size=256m,mode=755 none "$DATA"
		mkdir "$DATA/layers"
		cp -a /var/lib/shale/layers/${BASE}.* "$DATA/layers"`;

	/** Fills the daemon's data folder to the last byte; its end frees it again. */
	function fillUp(daemon: ServedDaemon): Disposable {
		// As the daemon sees it, in its mount namespace.
		const filler = `/proc/${daemon.pid}/root${daemon.dataHostPath}/filler`;
		const file = openSync(filler, "w");
		for (let size = MIB; size >= 1; size /= 16) {
			try {
				for (;;) writeSync(file, Buffer.alloc(size));
			} catch {
				// No room for so much more.
			}
		}
		closeSync(file);
		return { [Symbol.dispose]: () => rmSync(filler, { force: true }) };
	}

	it("without space, what runs goes on, what is new is refused, and destroying works", async () => {
		await withDaemon({ setup: SMALL_DATA, env: { SHALE_MIN_FREE_DISK_MIB: "16" } }, async (daemon) => {
			await expectCreated(daemon, "before");
			await expectCreated(daemon, "before-on-disk", { upper: "disk" });
			using filler = fillUp(daemon);
			await expectAlive(daemon, "before");
			await expectAlive(daemon, "before-on-disk");
			for (const upper of ["tmpfs", "disk"]) {
				expectRefusal(await create(daemon, "refused", { upper }), "resource_exhausted", /disk|space/i);
			}
			assert.equal((await request(daemon, "GET /v1/sandboxes/refused")).status, 404);
			assert.equal((await request(daemon, "DELETE /v1/sandboxes/before-on-disk")).status, 204);
			assert.equal((await request(daemon, "DELETE /v1/sandboxes/before")).status, 204);
			filler[Symbol.dispose]();
			await expectCreated(daemon, "after");
			await expectCreated(daemon, "refused", { upper: "disk" });
		});
	});

	it("whose disk fills up while a sandbox writes, that sandbox has the errors and the others go on", async () => {
		await withDaemon({ setup: SMALL_DATA, env: { SHALE_MIN_FREE_DISK_MIB: "0" } }, async (daemon) => {
			await expectCreated(daemon, "writer", { upper: "disk" });
			await expectCreated(daemon, "bystander");
			using filler = fillUp(daemon);
			const argv = ["sh", "-c", "head -c 20M /dev/zero > /fill && sync /fill"];
			const { json } = await request(daemon, "POST /v1/sandboxes/writer/exec", { argv, timeoutMs: 20_000 });
			assert.notEqual(json.exitCode, 0, "the file cannot be whole on the disk");
			await expectAlive(daemon, "bystander");
			assert.equal((await request(daemon, "DELETE /v1/sandboxes/writer")).status, 204);
			filler[Symbol.dispose]();
			await expectCreated(daemon, "writer", { upper: "disk" });
		});
	});

	it("without loop devices, the daemon says what is missing", async () => {
		const setup = `mount -t tmpfs none /dev
			mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5; mknod -m 666 /dev/full c 1 7
			mknod -m 666 /dev/random c 1 8; mknod -m 666 /dev/urandom c 1 9; mknod -m 666 /dev/tty c 5 0`;
		const run = await serveOnce({ setup });
		assert.notEqual(run.exitCode, 0);
		assert.match(run.stderr, /loop/);
	});

	it("where a start fails, nothing of it is left", async () => {
		const before = takeInventory();
		const { exitCode } = await serveOnce({ setup: "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3" });
		assert.notEqual(exitCode, 0);
		assert.deepEqual(await waitForNoLeaks(before), []);
	});

	it("whose devices went away, what runs goes on, and what needs a loop device is refused", async () => {
		await withDaemon({}, async (daemon) => {
			await expectCreated(daemon, "before");
			const [jailer] = findChildren(daemon.pid, "jailer");
			const inJailersNamespace = (...argv: string[]) =>
				execFileSync("nsenter", [`--mount=/proc/${jailer}/ns/mnt`, ...argv]);
			inJailersNamespace("mount", "-t", "tmpfs", "none", "/dev");
			await expectAlive(daemon, "before");
			expectRefusal(await create(daemon, "refused", { upper: "disk" }), "unsupported", /loop/);
			inJailersNamespace("umount", "/dev");
			await expectCreated(daemon, "refused", { upper: "disk" });
		});
	});

	it("with a read-only store, sandboxes run, and layers can neither be added nor removed", async () => {
		const setup = 'mount --bind "$DATA/layers" "$DATA/layers"; mount -o remount,ro,bind "$DATA/layers"';
		await withDaemon({ setup }, async (daemon) => {
			await expectCreated(daemon, "on-read-only");
			const body = "not even looked at";
			const put = await fetch(`${daemon.url}/v1/layers/200-new`, { method: "PUT", body });
			const answer = { status: put.status, json: (await put.json()) as Record<string, unknown> };
			expectRefusal(answer, "unavailable", /read-only/i);
			assert.equal((await request(daemon, "DELETE /v1/sandboxes/on-read-only")).status, 204);
			expectRefusal(await request(daemon, `DELETE /v1/layers/${BASE}`), "unavailable", /read-only/i);
			await expectCreated(daemon, "still");
		});
	});

	it("where somebody has the database open, the daemon refuses to start", async () => {
		const folder = mkdtempSync(join(tmpdir(), "shale-locked-"));
		try {
			const hold = `import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute("BEGIN EXCLUSIVE"); print("held", flush=True)
time.sleep(60)`;
			const holder = spawn("python3", ["-c", hold, join(folder, "shale.db")]);
			await once(holder.stdout, "data");
			const run = await serveOnce({ data: folder });
			assert.equal(run.exitCode, 5, "conflict");
			assert.match(run.stderr, /Another daemon works on this data folder/);
			holder.kill();
			await once(holder, "exit");
		} finally {
			rmSync(folder, { recursive: true });
		}
	});

	it("where the database is damaged, the daemon refuses to start and says what to do", async () => {
		const folder = mkdtempSync(join(tmpdir(), "shale-damaged-"));
		try {
			const database = join(folder, "shale.db");
			writeFileSync(database, Buffer.alloc(8192, "damage"));
			const run = await serveOnce({ data: folder });
			assert.notEqual(run.exitCode, 0);
			assert.match(run.stderr, /shale\.db is damaged/);
			assert.ok(existsSync(database), "it is the user's to move away");
		} finally {
			rmSync(folder, { recursive: true });
		}
	});

	it("whose run folder was removed, what runs goes on, creates are refused, and a restart helps", async () => {
		await withDaemon({}, async (daemon) => {
			await expectCreated(daemon, "before");
			rmSync(join(daemon.runHostPath, "sandboxes"), { recursive: true });
			await expectAlive(daemon, "before");
			expectRefusal(await create(daemon, "next"), "unavailable", /run folder was removed/);
			await daemon.restart();
			await expectCreated(daemon, "next");
			// Its way in was removed for good.
			const answer = await request(daemon, "POST /v1/sandboxes/before/exec", { argv: ["true"] });
			assert.equal(answer.json.code, "unavailable", JSON.stringify(answer));
		});
	});
});

/** A daemon that is expected to end by itself. */
async function serveOnce({ setup, data }: { setup?: string; data?: string }): Promise<ShaleRun> {
	const folder = mkdtempSync(join(tmpdir(), "shale-refusing-"));
	const argv = ["serve", "--listen", "127.0.0.1:0"];
	try {
		return await shale(argv, {
			env: {
				SHALE_CONFIG: "",
				SHALE_DATA: data ?? join(folder, "data"),
				SHALE_RUN: join(folder, "run"),
				SHALE_DEFAULT_LAYERS: BASE,
				SHALE_LOG: "error",
			},
			...(setup !== undefined && { setup }),
		});
	} finally {
		rmSync(folder, { recursive: true });
	}
}
