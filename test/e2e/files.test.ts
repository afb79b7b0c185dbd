/** Files in and out of a real sandbox: `shale cp`, the SDK, and curl where users would take it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import {
	existsSync,
	lstatSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	readlinkSync,
	rmSync,
	statSync,
	symlinkSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Sandbox, Shale } from "../../sdk/src/index.ts";
import { MIB } from "../../src/lib/units.ts";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";
import { shale } from "../support/shale.ts";

const LARGE_BYTES = 64 * MIB;
const WHEN = new Date("2021-02-03T04:05:06.789Z");

describe("files in and out of a sandbox", { skip: missingRoot() || missingLayers(...TEST_LAYERS) }, () => {
	let daemon: TestDaemon;
	let sandbox: Sandbox;
	let folder: string;

	before(async () => {
		daemon = await startTestDaemon();
		sandbox = new Shale({ url: daemon.url }).sandboxes.open(
			await daemon.create({ id: "box", limits: { memoryMiB: 512, diskMiB: 256 } }),
		);
		folder = mkdtempSync(join(tmpdir(), "shale-files-"));
	});
	after(async () => {
		await sandbox?.kill();
		await daemon?.stop();
		rmSync(folder, { recursive: true, force: true });
	});

	const here = (name: string) => join(folder, name);

	/** Fails the test unless it copies without a word. */
	async function cp(...args: readonly string[]): Promise<void> {
		const { exitCode, stderr } = await shale(["cp", ...args], { url: daemon.url });
		assert.deepEqual([exitCode, stderr], [0, ""], args.join(" "));
	}

	async function run(line: string): Promise<string> {
		const { stdout, stderr, exitCode } = await sandbox.commands.run(line);
		assert.equal(exitCode, 0, stderr);
		return stdout.trim();
	}

	it("copies a large file in and out with its checksum, mode and time", async () => {
		const bytes = randomFillSync(Buffer.alloc(LARGE_BYTES));
		const digest = createHash("sha256").update(bytes).digest("hex");
		writeFileSync(here("large"), bytes, { mode: 0o640 });
		utimesSync(here("large"), WHEN, WHEN);
		await cp(here("large"), "box:/tmp/large");
		assert.equal((await run("sha256sum /tmp/large")).slice(0, 64), digest);
		assert.equal(await run("stat -c '%a %u %.3Y' /tmp/large"), `640 0 ${WHEN.getTime() / 1000}`);
		await cp("box:/tmp/large", here("back"));
		assert.equal(
			createHash("sha256")
				.update(readFileSync(here("back")))
				.digest("hex"),
			digest,
		);
		const { mode, mtime } = statSync(here("back"));
		assert.deepEqual([mode & 0o7777, mtime], [0o640, WHEN]);
		const piped = await shale(["cp", "box:/tmp/large", "-"], { url: daemon.url });
		assert.ok(piped.stdout.equals(bytes));
		await sandbox.files.remove("/tmp/large");
		assert.equal(await run("ls -A /tmp"), "");
	});

	it("copies directories both ways as cp(1) names them", async () => {
		mkdirSync(here("src/deep/empty"), { recursive: true });
		writeFileSync(here("src/run"), "#!/bin/sh\necho it runs\n", { mode: 0o755 });
		writeFileSync(here(`src/deep/${"n".repeat(200)} ü`), "long");
		symlinkSync("../run", here("src/deep/link"));
		symlinkSync("/nowhere/at/all", here("src/dangling"));
		utimesSync(here("src/deep"), WHEN, WHEN);
		await cp(here("src"), "box:/srv/new");
		await cp(here("src"), "box:/srv");
		for (const path of ["/srv/new", "/srv/src"]) {
			assert.equal(await run(`${path}/deep/link`), "it runs");
			assert.equal(await run(`readlink ${path}/dangling`), "/nowhere/at/all");
			assert.equal(await run(`stat -c %Y ${path}/deep`), String(Math.floor(WHEN.getTime() / 1000)));
		}
		await cp("box:/srv/new", here("copy"));
		mkdirSync(here("into"));
		await cp("box:/srv/new/.", here("into"));
		for (const copied of ["copy", "into"]) {
			assert.equal(execFileSync(here(`${copied}/deep/link`)).toString(), "it runs\n");
			assert.equal(readlinkSync(here(`${copied}/dangling`)), "/nowhere/at/all");
			assert.equal(readFileSync(here(`${copied}/deep/${"n".repeat(200)} ü`), "utf8"), "long");
			assert.deepEqual(readdirSync(here(`${copied}/deep/empty`)), []);
		}
		await cp("box:/srv/new", "box:/srv/third");
		assert.equal(await run("diff -r --no-dereference /srv/new /srv/third && echo same"), "same");
	});

	it("does what a user of the sandbox may, and no more", async () => {
		await run("mkdir -m 777 /open && mkdir -m 700 /closed");
		writeFileSync(here("mine"), "mine");
		await cp("-u", "1000", here("mine"), "box:/open/mine");
		assert.equal(await run("stat -c %u /open/mine"), "1000");
		const refused = await shale(["cp", "-u", "1000", here("mine"), "box:/closed/x"], { url: daemon.url });
		assert.equal(refused.exitCode, 3, refused.stderr);
		await assert.rejects(sandbox.files.read("/etc/shadow", { user: "1000" }), { code: "forbidden" });
	});

	it("takes nothing through a symlink here, whatever the sandbox made", async () => {
		await run(
			"mkdir /evil && ln -s .. /evil/way && mkfifo /evil/pipe && install -m 4755 /bin/true /evil/suid",
		);
		const { exitCode, stderr } = await shale(["cp", "box:/evil", here("evil")], { url: daemon.url });
		assert.deepEqual([exitCode, stderr], [0, "shale: left out pipe: no file, directory or symlink\n"]);
		assert.equal(statSync(here("evil/suid")).mode & 0o7777, 0o755);
		assert.ok(lstatSync(here("evil/way")).isSymbolicLink());
		await run("rm /evil/way && mkdir /evil/way && echo bad > /evil/way/planted");
		const again = await shale(["cp", "box:/evil/.", here("evil")], { url: daemon.url });
		assert.equal(again.exitCode, 5, again.stderr);
		assert.equal(existsSync(here("planted")), false);
	});

	it("says what is wrong, and leaves what was there", async () => {
		writeFileSync(here("old"), "old");
		for (const [args, exitCode, said] of [
			[["box:/none", here("old")], 4, /\/none/],
			[["box:/srv/src/deep/link/x", here("old")], 5, /ENOTDIR|not a directory|Not a directory/],
			[[here("old"), "box:/none/there"], 4, /\/none/],
			[[here("old"), "nobody:/tmp"], 4, /nobody/],
			[["box:/dev/null", here("old")], 5, /neither a file nor a directory/],
		] as const) {
			const ran = await shale(["cp", ...args], { url: daemon.url });
			assert.equal(ran.exitCode, exitCode, ran.stderr);
			assert.match(ran.stderr, said);
		}
		assert.equal(readFileSync(here("old"), "utf8"), "old");
	});

	it("fills the disk with a clear error, and leaves no half file", async () => {
		const zeros = (async function* () {
			for (let piece = 0; piece < 320; piece++) yield Buffer.alloc(MIB);
		})();
		await assert.rejects(sandbox.files.write("/tmp/too-large", zeros), { code: "resource_exhausted" });
		assert.equal(await run("ls -A /tmp"), "");
	});

	it("reads ranges, and a file while it is replaced is the old or the new one", async () => {
		const [a, b] = ["a", "b"].map((letter) => letter.repeat(5 * MIB)) as [string, string];
		await sandbox.files.write("/tmp/f", a);
		assert.equal(await sandbox.files.readText("/tmp/f", { offset: 5 * MIB - 3 }), "aaa");
		const writes = (async () => {
			for (let round = 0; round < 6; round++) await sandbox.files.write("/tmp/f", round % 2 === 0 ? b : a);
		})();
		for (let round = 0; round < 6; round++) {
			const text = await sandbox.files.readText("/tmp/f");
			assert.ok(text === a || text === b, "neither the old nor the new one");
		}
		await writes;
		await sandbox.files.remove("/tmp/f");
	});

	it("tells what programs change", async () => {
		await run("mkdir /watched");
		const events = await sandbox.files.watch("/watched", { recursive: true });
		await run(
			"mkdir /watched/d && sleep 0.2 && echo 1 > /watched/d/f && mv /watched/d/f /watched/g && rm /watched/g",
		);
		const seen: string[] = [];
		for await (const { type, path, isDirectory } of events) {
			seen.push(`${type} ${path}${isDirectory ? "/" : ""}`);
			if (type === "removed") break;
		}
		for (const event of [
			"created /watched/d/",
			"created /watched/d/f",
			"modified /watched/d/f",
			"moved_from /watched/d/f",
			"moved_to /watched/g",
			"removed /watched/g",
		]) {
			assert.ok(seen.includes(event), `${event} is missing in ${seen.join(", ")}`);
		}
	});
});
