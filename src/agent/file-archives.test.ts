/** Tar in and out with the real agent, with tar(1) at the other end, and with archives and programs that are hostile. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { chunked, runFileOperation } from "../../test/support/file-operations.ts";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import { missingRoot } from "../../test/support/requirements.ts";
import type { AgentConnection } from "./connection.ts";
import { FileOperationError } from "./files.ts";

const NOBODY = 65_534;
const BLOCK_BYTES = 512;

interface Header {
	readonly name: string;
	readonly type?: string;
	readonly link?: string;
	readonly content?: string | Buffer;
	readonly mode?: number;
	readonly uid?: number;
	/** Instead of the content's. */
	readonly size?: number;
}

const pad = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & (BLOCK_BYTES - 1))]);
const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, "0")}\0`;

/** A header as no honest program would write it, and its content. */
function toEntry({ name, type = "0", link = "", content = "", mode = 0o644, uid = 0, size }: Header): Buffer {
	const body = Buffer.from(content);
	const block = Buffer.alloc(BLOCK_BYTES);
	block.write(name, 0, 100, "latin1");
	block.write(
		octal(mode, 8) + octal(uid, 8) + octal(0, 8) + octal(size ?? body.length, 12) + octal(0, 12),
		100,
	);
	block.write(`        ${type}`, 148);
	block.write(link, 157, 100, "latin1");
	block.write("ustar\x0000", 257, "latin1");
	const sum = block.reduce((total, byte) => total + byte, 0);
	block.write(octal(sum, 7), 148);
	return Buffer.concat([block, pad(body)]);
}

const toArchive = (...headers: Header[]) =>
	Buffer.concat([...headers.map(toEntry), Buffer.alloc(2 * BLOCK_BYTES)]);

function toPax(record: string): Header {
	let length = record.length + 2;
	while (`${length} ${record}\n`.length !== length) length++;
	return { name: "PaxHeader", type: "x", content: `${length} ${record}\n` };
}

describe("archives of an agent", { skip: missingAgent() }, () => {
	let agent: RealAgent;
	let connection: AgentConnection;
	let directory: string;

	before(async () => {
		agent = await startAgent();
	});
	after(() => agent.stop());
	beforeEach(async () => {
		connection = await agent.open();
		directory = fs.mkdtempSync(join(tmpdir(), "shale-archives-"));
		fs.chmodSync(directory, 0o755);
		fs.mkdirSync(at("in"));
	});
	afterEach(() => {
		connection.close();
		fs.rmSync(directory, { recursive: true, force: true });
	});

	const at = (name: string) => join(directory, name);
	const archive = async (path: string, user = "") =>
		(await runFileOperation(connection, { operation: "archive", path }, { user })).bytes;
	const extract = (bytes: Buffer, path = at("out"), user = "") =>
		runFileOperation(connection, { operation: "extract", path }, { user, source: chunked(bytes, 50_001) });
	const list = (bytes: Buffer) =>
		execFileSync("tar", ["--numeric-owner", "-tvf", "-"], { input: bytes }).toString();

	async function refuses(bytes: Buffer, errnoName: string, detail: RegExp) {
		await assert.rejects(extract(bytes), (error) => {
			assert.ok(error instanceof FileOperationError, String(error));
			assert.equal(error.errnoName, errnoName);
			assert.match(error.detail, detail);
			return true;
		});
	}

	/** Everything about the tree that an archive keeps. */
	function describeTree(root: string) {
		const script = `cd ${root} && find . -mindepth 1 -printf '%P %y %m %U:%G %T@ %l\\n' | sed 's/\\.[0-9]* / /' | sort`;
		return execFileSync("sh", ["-c", script]).toString();
	}

	function fill(root: string) {
		const long = `${"long-".repeat(30)}directory`;
		fs.mkdirSync(join(root, long, "deep"), { recursive: true });
		fs.writeFileSync(join(root, long, "deep", `${"name".repeat(50)}`), "long names");
		fs.writeFileSync(join(root, "big"), randomBytes(1_000_001));
		fs.writeFileSync(join(root, "empty"), "");
		fs.writeFileSync(join(root, "setuid"), "", { mode: 0o600 });
		fs.chmodSync(join(root, "setuid"), 0o4755);
		fs.linkSync(join(root, "big"), join(root, "hard"));
		fs.symlinkSync("nowhere/at/all", join(root, "dangling"));
		fs.symlinkSync(`/${"target".repeat(40)}`, join(root, "far"));
		fs.mkdirSync(join(root, "closed"));
		fs.writeFileSync(join(root, "closed/file"), "in a directory that nobody may write to");
		execFileSync("mkfifo", [join(root, "fifo")]);
		fs.writeFileSync(Buffer.concat([Buffer.from(join(root, "odd")), Buffer.from([0xff, 0xfe])]), "");
		fs.chmodSync(join(root, "closed"), 0o555);
		for (const name of ["empty", "closed", long]) fs.utimesSync(join(root, name), 1000, 1_000_000_000);
	}

	test("tar(1) reads what is archived", async () => {
		fill(at("in"));
		fs.mkdirSync(at("out"));
		execFileSync("tar", ["-C", at("out"), "-xpf", "-"], { input: await archive(at("in")) });
		assert.equal(describeTree(at("out")), describeTree(at("in")));
		assert.equal(fs.statSync(at("out/big")).ino, fs.statSync(at("out/hard")).ino);
		assert.deepEqual(fs.readFileSync(at("out/big")), fs.readFileSync(at("in/big")));
	});

	for (const format of ["pax", "gnu"]) {
		test(`what tar(1) writes as ${format} is extracted`, async () => {
			fill(at("in"));
			const bytes = execFileSync("tar", [`--format=${format}`, "-C", at("in"), "-cf", "-", "."], {
				maxBuffer: 2 ** 26,
			});
			await extract(bytes);
			assert.equal(describeTree(at("out")), describeTree(at("in")));
			assert.equal(fs.statSync(at("out/big")).ino, fs.statSync(at("out/hard")).ino);
			assert.deepEqual(fs.readFileSync(at("out/big")), fs.readFileSync(at("in/big")));
		});
	}

	test("an archive goes out and in again, and a second time over itself", async () => {
		fill(at("in"));
		const bytes = await archive(at("in"));
		const { count } = await extract(bytes, at("new/out"));
		assert.equal(count, 13);
		assert.equal(describeTree(at("new/out")), describeTree(at("in")));
		assert.equal((await extract(bytes, at("new/out"))).count, 13);
		assert.deepEqual(fs.readdirSync(at("new/out")), fs.readdirSync(at("in")));
	});

	test("a single file is an archive of one entry, and what is neither file nor directory is none", async () => {
		fs.writeFileSync(at("in/file"), "content");
		assert.match(list(await archive(at("in/file"))), /^-rw.* 7 .* file\n$/);
		await assert.rejects(archive("/dev/null"), { errnoName: "EINVAL" });
		await assert.rejects(archive(at("nothing")), { errnoName: "ENOENT" });
		assert.equal(list(await archive(at("in"))).split("\n").length, 2);
	});

	test("owners are numbers, and those that do not fit into old fields too", {
		skip: missingRoot(),
	}, async () => {
		fs.writeFileSync(at("in/file"), "");
		fs.chownSync(at("in/file"), 3_000_000, 4_000_000_000);
		const bytes = await archive(at("in"));
		assert.match(list(bytes), /3000000\/4000000000/);
		await extract(bytes);
		const { uid, gid } = fs.statSync(at("out/file"));
		assert.deepEqual([uid, gid], [3_000_000, 4_000_000_000]);
	});

	test("without root, all that is extracted is the user's", { skip: missingRoot() }, async () => {
		fs.mkdirSync(at("out"));
		fs.chownSync(at("out"), NOBODY, NOBODY);
		const closed = { name: "closed", type: "5", mode: 0o555, uid: 7 };
		await extract(
			toArchive(closed, { name: "closed/file", content: "x", uid: 7 }, { name: "a/b", uid: 7 }),
			at("out"),
			String(NOBODY),
		);
		for (const name of ["closed", "closed/file", "a", "a/b"])
			assert.equal(fs.statSync(at(`out/${name}`)).uid, NOBODY);
		assert.equal(fs.statSync(at("out/closed")).mode & 0o777, 0o555);
		await assert.rejects(extract(toArchive({ name: "x" }), at("in"), String(NOBODY)), {
			errnoName: "EACCES",
			detail: "x",
		});
	});

	test("directories that are there keep their mode, also behind a symlink", async () => {
		fs.mkdirSync(at("out/usr/bin"), { recursive: true });
		fs.chmodSync(at("out/usr/bin"), 0o700);
		fs.symlinkSync("usr/bin", at("out/bin"));
		await extract(
			toArchive(
				{ name: "./", type: "5", mode: 0o777 },
				{ name: "bin/", type: "5", mode: 0o777 },
				{ name: "bin/tool", content: "tool" },
			),
		);
		assert.equal(fs.readFileSync(at("out/usr/bin/tool"), "utf8"), "tool");
		assert.equal(fs.statSync(at("out/usr/bin")).mode & 0o777, 0o700);
		assert.ok(fs.lstatSync(at("out/bin")).isSymbolicLink());
	});

	test("files and links give way to entries, and are not written through", async () => {
		fs.mkdirSync(at("out"));
		fs.writeFileSync(at("victim"), "kept");
		fs.symlinkSync(at("victim"), at("out/link"));
		fs.linkSync(at("victim"), at("out/hard"));
		fs.writeFileSync(at("out/directory"), "");
		await extract(
			toArchive(
				{ name: "link", content: "new" },
				{ name: "hard", content: "new" },
				{ name: "directory", type: "5" },
			),
		);
		assert.equal(fs.readFileSync(at("victim"), "utf8"), "kept");
		assert.equal(fs.readFileSync(at("out/link"), "utf8"), "new");
		assert.equal(fs.readFileSync(at("out/hard"), "utf8"), "new");
		assert.ok(fs.statSync(at("out/directory")).isDirectory());
		await refuses(toArchive({ name: "directory", content: "a file now" }), "EISDIR", /^directory$/);
	});

	test("no name and no link of an archive leads outside of the directory", async () => {
		fs.mkdirSync(at("outside"));
		fs.writeFileSync(at("outside/file"), "kept");
		const attacks: [Header[], string][] = [
			[[{ name: "../outside/planted" }], "EINVAL"],
			[[{ name: "a/../../outside/planted" }], "EINVAL"],
			[[toPax("path=../outside/planted"), { name: "x" }], "EINVAL"],
			[[{ name: "@LongLink", type: "L", content: "../outside/planted\0" }, { name: "x" }], "EINVAL"],
			[[{ name: "up", type: "2", link: "../outside" }, { name: "up/planted" }], "EXDEV"],
			[[{ name: "up", type: "2", link: at("outside") }, { name: "up/planted" }], "EXDEV"],
			[
				[
					{ name: "up", type: "2", link: "../outside" },
					{ name: "up/planted/", type: "5" },
				],
				"EXDEV",
			],
			[[{ name: "up", type: "2", link: "../outside" }, { name: "up/deep/er/planted" }], "EXDEV"],
			[
				[
					{ name: "up", type: "2", link: "../outside" },
					{ name: "planted", type: "1", link: "up/file" },
				],
				"EXDEV",
			],
			[[{ name: "planted", type: "1", link: "../outside/file" }], "EINVAL"],
			[[{ name: "planted", type: "1", link: at("outside/file") }], "ENOENT"],
		];
		for (const [headers, errnoName] of attacks) {
			await refuses(toArchive(...headers), errnoName, /./);
			assert.deepEqual(fs.readdirSync(at("outside")), ["file"]);
			fs.rmSync(at("out"), { recursive: true });
		}
		// A link that leads outside is only a link, and a leading slash only a name.
		await extract(
			toArchive(
				{ name: "up", type: "2", link: "../outside/file" },
				{ name: "up", content: "in its place" },
				{ name: `${at("outside/file")}`, content: "beneath" },
				{ name: "again", type: "2", link: "../outside/file" },
				{ name: "link-to-link", type: "1", link: "again" },
			),
		);
		assert.equal(fs.readFileSync(at("outside/file"), "utf8"), "kept");
		assert.equal(fs.readFileSync(at("out/up"), "utf8"), "in its place");
		assert.equal(fs.readFileSync(join(at("out"), at("outside/file")), "utf8"), "beneath");
		assert.ok(fs.lstatSync(at("out/link-to-link")).isSymbolicLink());
	});

	test("what is no archive, is damaged, cut off or of a kind that is not supported is refused and named", async () => {
		const whole = toArchive({ name: "first", content: "1" }, { name: "second", content: "2" });
		await refuses(randomBytes(5000), "EINVAL", /not a tar archive/);
		await refuses(Buffer.from("short"), "EINVAL", /ends in the middle of a header/);
		await refuses(whole.subarray(0, 1200), "EINVAL", /ends in the middle of a header/);
		const long = toArchive({ name: "long", content: Buffer.alloc(5000) });
		await refuses(long.subarray(0, 2000), "EINVAL", /middle of a file/);
		assert.deepEqual(fs.readdirSync(at("out")), ["first"], "nothing half of a file is left");
		const damaged = Buffer.from(whole);
		damaged[1024] = 1;
		await refuses(damaged, "EINVAL", /damaged/);
		await refuses(toArchive({ name: "sparse", type: "S" }), "EINVAL", /type 'S'/);
		await refuses(toArchive(toPax("GNU.sparse.major=1"), { name: "x" }), "EINVAL", /sparse/);
		await refuses(toArchive({ name: "x", type: "x", size: 2 ** 30 }), "EINVAL", /too long/);
		await refuses(toArchive({ name: "x", type: "x", content: "garbage" }), "EINVAL", /malformed/);
		await refuses(toArchive({ name: "n", content: "", size: 2 ** 33 - 1 }), "EINVAL", /middle of a file/);
		assert.equal((await extract(Buffer.alloc(0))).count, 0);
		assert.equal((await extract(whole.subarray(0, 2048))).count, 2, "an end mark is not needed");
	});

	test("a file that changes its size while it is archived keeps the archive whole", async () => {
		const bytes = randomBytes(300_000);
		for (let i = 0; i < 40; i++) fs.writeFileSync(at(`in/${i}`), bytes);
		const archiving = archive(at("in"));
		for (let i = 0; i < 40; i++) {
			await new Promise(setImmediate);
			if (i % 2) fs.truncateSync(at(`in/${i}`), 1000);
			else fs.appendFileSync(at(`in/${i}`), bytes);
		}
		assert.equal(list(await archiving).split("\n").length, 41);
	});
});
