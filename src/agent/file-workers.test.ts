/** The workers that do file operations: their rights, their limits, their ends, and what they cost the agent. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
	assertRefused,
	chunked,
	collectRecords,
	request,
	runFileOperation,
} from "../../test/support/file-operations.ts";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import { missingRoot } from "../../test/support/requirements.ts";
import type { AgentConnection } from "./connection.ts";
import { type FileRequest, openFileOperation } from "./files.ts";

const MIB = 2 ** 20;
const NOBODY = 65_534;

describe("file workers of an agent", { skip: missingAgent() }, () => {
	let agent: RealAgent;
	let connection: AgentConnection;
	let directory: string;

	before(async () => {
		agent = await startAgent();
	});
	after(() => agent.stop());
	beforeEach(async () => {
		connection = await agent.open();
		await connection.greeted;
		directory = fs.mkdtempSync(join(tmpdir(), "shale-workers-"));
		fs.chmodSync(directory, 0o755);
	});
	afterEach(() => {
		connection.close();
		fs.rmSync(directory, { recursive: true, force: true });
	});

	const at = (name: string) => join(directory, name);
	const text = (content: string) => ({ source: chunked(Buffer.from(content)) });
	const { stat, read, write, remove, watch } = request;
	const open = (wanted: FileRequest) => openFileOperation(connection, wanted, { user: "" });
	const run = (wanted: FileRequest, options: Parameters<typeof runFileOperation>[2] = {}) =>
		runFileOperation(connection, wanted, options);
	const refuses = (refused: FileRequest, errnoName: string, options?: Parameters<typeof run>[1]) =>
		assertRefused(run(refused, options), errnoName);

	/** No worker is left, and the directory has these names and no others. */
	async function leavesOnly(names: string[]) {
		for (let i = 0; agent.children().length > 0; i++) {
			assert.ok(i < 100, "a worker is left");
			await sleep(50);
		}
		assert.deepEqual(fs.readdirSync(directory).sort(), names);
	}

	test("an operation has the rights of its user and no others", { skip: missingRoot() }, async () => {
		const user = { user: String(NOBODY) };
		fs.writeFileSync(at("secret"), "secret", { mode: 0o600 });
		fs.mkdirSync(at("open"));
		fs.chownSync(at("open"), NOBODY, NOBODY);
		await refuses(read(at("secret")), "EACCES", user);
		await refuses(write(at("new")), "EACCES", { ...user, ...text("x") });
		await refuses(remove(at("secret")), "EACCES", user);
		await refuses({ operation: "setAttributes", path: at("secret"), mode: 0o777 }, "EPERM", user);
		await refuses({ operation: "setAttributes", path: at("open"), uid: 0 }, "EPERM", user);
		await run(write(at("open/file")), { ...user, ...text("mine") });
		assert.deepEqual([fs.statSync(at("open/file")).uid, fs.statSync(at("open/file")).gid], [NOBODY, NOBODY]);

		// The directory would allow to replace it, the file does not allow to write to it.
		fs.writeFileSync(at("open/of-root"), "kept");
		await refuses(write(at("open/of-root")), "EACCES", { ...user, ...text("x") });
		// Root keeps whose a file is.
		await run(write(at("open/file")), text("root's"));
		assert.equal(fs.statSync(at("open/file")).uid, NOBODY);
		await leavesOnly(["open", "secret"]);
	});

	test("a connection that is lost in the middle leaves no litter and no worker", async () => {
		fs.writeFileSync(at("file"), "old");
		const never = new Promise<void>(() => {});
		async function* endless() {
			yield Buffer.alloc(MIB);
			await never;
		}
		const writing = open(write(at("file")));
		void writing.send(endless());
		const extracting = open({ operation: "extract", path: at("new") });
		void extracting.send(endless());
		const watching = open(watch(directory, true));
		await watching.info();
		fs.writeFileSync(at("big"), Buffer.alloc(8 * MIB));
		const reading = open(read(at("big")));
		await reading.info();
		connection.close();
		await assert.rejects(writing.next(), /closed/);
		await leavesOnly(["big", "file", "new"]);
		assert.equal(fs.readFileSync(at("file"), "utf8"), "old");
		assert.deepEqual(fs.readdirSync(at("new")), []);
	});

	test("a user whom nobody knows is told apart from a file that is not there", async () => {
		const error = await refuses(stat("/"), "ENOENT", { user: "no-such-user" });
		assert.equal(error.subject, "user");
	});

	test("a full disk is told, and leaves the old file and no litter", { skip: missingRoot() }, async () => {
		fs.mkdirSync(at("small"));
		execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", at("small")]);
		try {
			fs.writeFileSync(at("small/file"), "old");
			await refuses(write(at("small/file")), "ENOSPC", { source: chunked(Buffer.alloc(4 * MIB)) });
			assert.deepEqual(fs.readdirSync(at("small")), ["file"]);
			assert.equal(fs.readFileSync(at("small/file"), "utf8"), "old");
			await refuses(remove(at("small")), "EBUSY");
			await refuses(
				{ operation: "rename", path: at("small/file"), to: at("file"), overwrite: false },
				"EXDEV",
			);
		} finally {
			execFileSync("umount", [at("small")]);
		}
	});

	test("a big file goes in and out unchanged while others are served", async () => {
		const piece = randomBytes(MIB);
		const hash = createHash("sha256");
		async function* source() {
			for (let i = 0; i < 64; i++) yield piece;
		}
		for (let i = 0; i < 64; i++) hash.update(piece);
		const writing = run(write(at("big")), { source: source() });
		const [echo] = await Promise.all([run(stat("/")), writing]);
		assert.equal(echo.infos.length, 1);

		const operation = open(read(at("big")));
		const received = createHash("sha256");
		for (let record = await operation.next(); record; record = await operation.next())
			if (record.type === "bytes") received.update(record.data);
		assert.equal(received.digest("hex"), hash.digest("hex"));
	});

	test("a reader that does not read costs the agent nothing and delays nobody", async () => {
		fs.writeFileSync(at("big"), Buffer.alloc(32 * MIB));
		const stuck = Array.from({ length: 8 }, () => open(read(at("big"))));
		await Promise.all(stuck.map((operation) => operation.info()));
		await sleep(100);
		const resident = Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${agent.pid}/status`, "utf8"))?.[1]);
		assert.ok(resident < 2048, `the agent has ${resident} KiB`);
		const started = performance.now();
		const echo = await connection.start({ id: "echo", argv: ["/bin/echo", "hi"], isTransient: true });
		for await (const _ of echo.output());
		assert.equal((await echo.exited).exitCode, 0);
		assert.ok(performance.now() - started < 2000);
		for (const operation of stuck) operation.close();
		await leavesOnly(["big"]);
	});

	test("a worker that does not read makes its writer wait, and no other", async () => {
		let sent = 0;
		async function* source() {
			for (; ; sent++) yield Buffer.alloc(64 * 1024);
		}
		// A watch takes no data.
		const watching = open(watch(directory, false));
		await watching.info();
		void watching.send(source());
		await sleep(100);
		assert.equal((await run(stat("/"))).infos.length, 1);
		const before = sent;
		await sleep(100);
		assert.equal(sent, before);
		assert.ok(sent * 64 * 1024 < 2 * MIB);
		watching.close();
		await leavesOnly([]);
	});

	test("the workers are counted: one too many is refused, and there is room when one has ended", async () => {
		const watching = Array.from({ length: 32 }, () => open(watch(directory)));
		await Promise.all(watching.map((operation) => operation.info()));
		await assert.rejects(run(stat("/")), { name: "AgentError", errnoName: "EAGAIN" });
		for (const operation of watching) operation.close();
		await leavesOnly([]);
		assert.equal((await run(stat("/"))).infos.length, 1);
	});

	test("a worker that is killed is an error, not a wait", async () => {
		fs.writeFileSync(at("big"), Buffer.alloc(8 * MIB));
		const reading = open(read(at("big")));
		await reading.info();
		for (const pid of agent.children()) process.kill(pid, "SIGKILL");
		await assert.rejects(collectRecords(reading), /ended without a result/);
	});

	test("a worker that hangs is killed after its client has gone", async () => {
		const reading = open(watch(directory, true));
		await reading.info();
		const [pid] = agent.children();
		process.kill(pid ?? 0, "SIGSTOP");
		reading.close();
		await leavesOnly([]);
	});

	test("whatever is written as a request, the agent answers or closes, and lives", async () => {
		for (let round = 0; round < 50; round++) {
			const tunnel = connection.openTunnel("fuzz", (channel) => {
				const payload = Buffer.concat([Buffer.from([0, 0, 1, 0, 0, 0, 0, 0]), randomBytes(round)]);
				const head = Buffer.alloc(9);
				head.writeUInt32LE(payload.length, 0);
				head.writeUInt8(0x20, 4);
				head.writeUInt32LE(channel, 5);
				return Buffer.concat([head, payload]);
			});
			tunnel.endInput();
			while (await tunnel.read());
		}
		assert.equal((await run(stat("/"))).infos.length, 1);
	});
});
