/** File operations with the real agent: what each does, and how each fails. Archives are in file-archives.test.ts. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
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

describe("files of an agent", { skip: missingAgent() }, () => {
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
		directory = fs.mkdtempSync(join(tmpdir(), "shale-files-"));
		fs.chmodSync(directory, 0o755);
	});
	afterEach(() => {
		connection.close();
		fs.rmSync(directory, { recursive: true, force: true });
	});

	const at = (name: string) => join(directory, name);
	const text = (content: string) => ({ source: chunked(Buffer.from(content)) });
	const { stat, list, read, write, remove } = request;
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

	test("stat tells what a file is, and follows symlinks when asked", async () => {
		fs.writeFileSync(at("file"), "12345", { mode: 0o640 });
		fs.utimesSync(at("file"), 1, 1234.5);
		fs.symlinkSync("file", at("link"));
		const facts = {
			path: "",
			type: "file",
			sizeBytes: 5,
			mode: 0o640,
			uid: process.getuid?.(),
			gid: process.getgid?.(),
			modifiedMs: 1_234_500,
			target: null,
		};
		assert.deepEqual((await run(stat(at("file")))).infos, [facts]);
		assert.deepEqual((await run(stat(at("link")))).infos, [facts]);
		const [link] = (await run(stat(at("link"), false))).infos;
		assert.deepEqual([link?.type, link?.target], ["symlink", "file"]);
		execFileSync("mkfifo", [at("fifo")]);
		assert.equal((await run(stat(at("fifo")))).infos[0]?.type, "fifo");
		assert.equal((await run(stat("/dev/null"))).infos[0]?.type, "character");
		assert.equal((await run(stat("/"))).infos[0]?.type, "directory");
	});

	test("a time before 1970 and one that no Date can be are told as far as a Date goes", async () => {
		fs.writeFileSync(at("old"), "");
		execFileSync("touch", ["-d", "@-1000", at("old")]);
		assert.equal((await run(stat(at("old")))).infos[0]?.modifiedMs, -1_000_000);
	});

	test("what is not there, not a directory, or a loop is refused", async () => {
		fs.writeFileSync(at("file"), "");
		fs.symlinkSync("loop", at("loop"));
		await refuses(stat(at("nothing")), "ENOENT");
		await refuses(stat(at("file/below")), "ENOTDIR");
		await refuses(stat(at("loop")), "ELOOP");
		await refuses(stat(`/${"n".repeat(300)}`), "ENAMETOOLONG");
		await refuses(list(at("file")), "ENOTDIR");
		await refuses(write(at("loop")), "ELOOP", text(""));
		await refuses(stat("relative"), "EPROTO");
	});

	test("a list has the levels that were asked for, and one entry more than its limit says that there are more", async () => {
		fs.mkdirSync(at("a/b/c"), { recursive: true });
		fs.writeFileSync(at("a/file"), "");
		fs.symlinkSync("a", at("link"));
		const paths = async (depth: number, limit?: number) =>
			(await run(list(directory, depth, limit))).infos.map(({ path }) => path).sort();
		assert.deepEqual(await paths(1), ["a", "link"]);
		assert.deepEqual(await paths(2), ["a", "a/b", "a/file", "link"]);
		assert.deepEqual(await paths(64), ["a", "a/b", "a/b/c", "a/file", "link"]);
		assert.equal((await paths(64, 2)).length, 3);
		assert.deepEqual(
			(await run(list(at("link")))).infos.map(({ path }) => path).sort(),
			["b", "file"],
			"the directory itself may be a symlink",
		);
	});

	test("a directory of 10,000 entries is listed whole and removed", async () => {
		fs.mkdirSync(at("many"));
		for (let i = 0; i < 10_000; i++) fs.writeFileSync(at(`many/${i}`), "");
		const { infos } = await run(list(at("many"), 1, 100_000));
		assert.equal(new Set(infos.map(({ path }) => path)).size, 10_000);
		await run(remove(at("many")));
		await leavesOnly([]);
	});

	test("a name that is not UTF-8 is listed with U+FFFD, and goes with its directory", async () => {
		fs.mkdirSync(at("odd"));
		fs.writeFileSync(Buffer.concat([Buffer.from(at("odd/a")), Buffer.from([0xff])]), "");
		assert.deepEqual(
			(await run(list(at("odd")))).infos.map(({ path }) => path),
			["a\ufffd"],
		);
		await run(remove(at("odd")));
		await leavesOnly([]);
	});

	test("reading gives the content, a range of it, or nothing beyond the end", async () => {
		const content = randomBytes(3 * MIB + 17);
		fs.writeFileSync(at("file"), content);
		const whole = await run(read(at("file")));
		assert.ok(whole.bytes.equals(content));
		assert.equal(whole.infos[0]?.sizeBytes, content.length);
		const range = await run(read(at("file"), 1_000_003, 500_001));
		assert.ok(range.bytes.equals(content.subarray(1_000_003, 1_500_004)));
		assert.equal((await run(read(at("file"), content.length))).bytes.length, 0);
		assert.equal((await run(read(at("file"), 2 ** 50))).bytes.length, 0);
		fs.writeFileSync(at("empty"), "");
		assert.equal((await run(read(at("empty")))).bytes.length, 0);
	});

	test("files of /proc, which have no size, are read", async () => {
		const { bytes, infos } = await run(read("/proc/version"));
		assert.deepEqual(bytes, fs.readFileSync("/proc/version"));
		assert.equal(infos[0]?.sizeBytes, bytes.length);
		assert.deepEqual((await run(read("/proc/version", 6, 7))).bytes.toString(), "version");
	});

	test("what is no regular file is neither read nor written, and nothing hangs", async () => {
		execFileSync("mkfifo", [at("fifo")]);
		await refuses(read(at("fifo")), "EINVAL");
		await refuses(read("/dev/zero"), "EINVAL");
		await refuses(read(directory), "EISDIR");
		await refuses(write(at("fifo")), "EINVAL", text("x"));
		await refuses(write("/dev/null"), "EINVAL", text("x"));
		await refuses(write(directory), "EISDIR", text("x"));
		await refuses(write("/"), "EISDIR", text("x"));
		await leavesOnly(["fifo"]);
	});

	test("a file that grows while it is read gives what it had; one that shrinks is an error", async () => {
		fs.writeFileSync(at("file"), Buffer.alloc(8 * MIB, 1));
		const growing = openFileOperation(connection, read(at("file")), { user: "" });
		assert.equal((await growing.info()).sizeBytes, 8 * MIB);
		fs.appendFileSync(at("file"), Buffer.alloc(MIB, 2));
		assert.ok((await collectRecords(growing)).bytes.equals(Buffer.alloc(8 * MIB, 1)));

		const shrinking = openFileOperation(connection, read(at("file")), { user: "" });
		await shrinking.info();
		fs.truncateSync(at("file"), 1000);
		await assert.rejects(collectRecords(shrinking), { errnoName: "EIO" });
	});

	test("writing makes a file of the mode, with its directories when asked", async () => {
		const content = randomBytes(2 * MIB + 5);
		await refuses(write(at("a/b/file")), "ENOENT", { source: chunked(content) });
		const { infos } = await run(write(at("a/b/file"), { mode: 0o4711, parents: true }), {
			source: chunked(content, 100_001),
		});
		assert.ok(fs.readFileSync(at("a/b/file")).equals(content));
		assert.equal(fs.statSync(at("a/b/file")).mode & 0o7777, 0o4711);
		assert.equal(fs.statSync(at("a/b")).mode & 0o7777, 0o755);
		assert.deepEqual([infos[0]?.sizeBytes, infos[0]?.mode], [content.length, 0o4711]);
		await run(write(at("empty")), text(""));
		assert.equal(fs.statSync(at("empty")).size, 0);
		await leavesOnly(["a", "empty"]);
	});

	test("an existing file keeps its mode, its other links the old content, and its readers too", async () => {
		fs.writeFileSync(at("file"), "old", { mode: 0o600 });
		fs.linkSync(at("file"), at("other"));
		const reader = fs.openSync(at("file"), "r");
		await run(write(at("file"), { mode: 0o777 }), text("new"));
		assert.equal(fs.readFileSync(at("file"), "utf8"), "new");
		assert.equal(fs.statSync(at("file")).mode & 0o7777, 0o600);
		assert.equal(fs.readFileSync(at("other"), "utf8"), "old");
		assert.equal(fs.readFileSync(reader, "utf8"), "old");
		fs.closeSync(reader);
		await refuses(write(at("file"), { overwrite: false }), "EEXIST", text("newer"));
		assert.equal(fs.readFileSync(at("file"), "utf8"), "new");
		await leavesOnly(["file", "other"]);
	});

	test("writing without overwriting gives way to a file that appears meanwhile", async () => {
		async function* slow() {
			yield Buffer.from("ours");
			await sleep(100);
			fs.writeFileSync(at("file"), "theirs");
		}
		await refuses(write(at("file"), { overwrite: false }), "EEXIST", { source: slow() });
		assert.equal(fs.readFileSync(at("file"), "utf8"), "theirs");
		await leavesOnly(["file"]);
	});

	test("writing to a symlink replaces, or makes, what it points to", async () => {
		fs.mkdirSync(at("real"));
		fs.writeFileSync(at("real/file"), "old");
		fs.symlinkSync("real/file", at("one"));
		fs.symlinkSync(at("one"), at("two"));
		fs.symlinkSync("real/new", at("dangling"));
		await run(write(at("two")), text("new"));
		await run(write(at("dangling")), text("made"));
		assert.equal(fs.readFileSync(at("real/file"), "utf8"), "new");
		assert.equal(fs.readFileSync(at("real/new"), "utf8"), "made");
		assert.ok(fs.lstatSync(at("one")).isSymbolicLink() && fs.lstatSync(at("dangling")).isSymbolicLink());
		assert.deepEqual(fs.readdirSync(at("real")).sort(), ["file", "new"]);
	});

	test("an upload whose source fails, or that is closed, leaves the old file and no litter", async () => {
		fs.writeFileSync(at("file"), "old");
		async function* failing() {
			yield Buffer.alloc(MIB);
			throw new Error("the upload broke");
		}
		await assert.rejects(run(write(at("file")), { source: failing() }), /the upload broke/);
		const closed = openFileOperation(connection, write(at("file")), { user: "" });
		void closed.send(chunked(Buffer.alloc(MIB)));
		closed.close();
		await leavesOnly(["file"]);
		assert.equal(fs.readFileSync(at("file"), "utf8"), "old");
	});

	test("directories are made one by one or with those above", async () => {
		const make = (name: string, parents = false) =>
			({ operation: "makeDirectory", path: at(name), mode: 0o1750, parents }) as const;
		await refuses(make("a/b"), "ENOENT");
		assert.equal((await run(make("a/b/c/", true))).infos[0]?.mode, 0o1750);
		assert.equal(fs.statSync(at("a/b/c")).mode & 0o7777, 0o1750);
		assert.equal(fs.statSync(at("a/b")).mode & 0o7777, 0o755);
		await refuses(make("a"), "EEXIST");
		assert.equal((await run(make("a", true))).infos[0]?.type, "directory");
		fs.writeFileSync(at("file"), "");
		await refuses(make("file", true), "EEXIST");
		await refuses(make("file/a", true), "ENOTDIR");
		await refuses({ ...make(""), path: "/" }, "EEXIST");
	});

	test("renaming replaces only when asked", async () => {
		const rename = (from: string, to: string, overwrite = false) =>
			({ operation: "rename", path: at(from), to: at(to), overwrite }) as const;
		fs.writeFileSync(at("a"), "a");
		fs.writeFileSync(at("b"), "b");
		fs.symlinkSync("a", at("link"));
		await refuses(rename("a", "b"), "EEXIST");
		await run(rename("a", "b", true));
		assert.equal(fs.readFileSync(at("b"), "utf8"), "a");
		assert.equal((await run(rename("link", "moved"))).infos[0]?.target, "a");
		await refuses(rename("nothing", "c"), "ENOENT");
		await refuses({ ...rename("", ""), path: "/", to: at("c") }, "EBUSY");
		await refuses({ ...rename("b", ""), to: "/" }, "EBUSY");
		await leavesOnly(["b", "moved"]);
	});

	test("removing takes a file, a link but not what it points to, a directory with its contents when asked", async () => {
		fs.mkdirSync(at("victim"));
		fs.writeFileSync(at("victim/file"), "");
		fs.mkdirSync(at("a/b"), { recursive: true });
		fs.symlinkSync("../victim", at("a/link"));
		fs.symlinkSync("victim", at("link"));
		await run(remove(at("link"), false));
		await refuses(remove(at("a"), false), "ENOTEMPTY");
		await run(remove(at("a")));
		await refuses(remove(at("a")), "ENOENT");
		await refuses(remove("/"), "EBUSY");
		await refuses(remove("/tmp/.."), "EBUSY");
		await leavesOnly(["victim"]);
		assert.deepEqual(fs.readdirSync(at("victim")), ["file"]);
	});

	test("a tree that is far deeper than any path is removed", async () => {
		for (let i = 0; i < 8; i++) {
			const bottom = join(directory, `top${i}`, "d/".repeat(500));
			fs.mkdirSync(bottom, { recursive: true });
			if (i > 0) fs.renameSync(at(`top${i - 1}`), join(bottom, "deeper"));
		}
		await run(remove(at("top7")));
		await leavesOnly([]);
	});

	test("mode and owner are set on what a symlink points to", { skip: missingRoot() }, async () => {
		fs.writeFileSync(at("file"), "");
		fs.symlinkSync("file", at("link"));
		const change = { operation: "setAttributes", path: at("link") } as const;
		assert.equal((await run({ ...change, mode: 0o4755 })).infos[0]?.mode, 0o4755);
		const [owned] = (await run({ ...change, mode: 0o2750, uid: 12, gid: 34 })).infos;
		assert.deepEqual([owned?.uid, owned?.gid, owned?.mode], [12, 34, 0o2750]);
		assert.deepEqual((await run({ ...change, uid: 56 })).infos[0]?.gid, 34);
		assert.equal(fs.lstatSync(at("link")).uid, 0);
	});
});
