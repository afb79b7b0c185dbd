/** `shale cp`, as a user sees it, with files in memory on the sandbox's side. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
	chmodSync,
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
import { test } from "node:test";
import { packTar } from "modern-tar";
import { MAIN, shale } from "../../test/support/shale.ts";
import { startFakeServer } from "../api/testing/fake-daemon.ts";
import { until } from "../api/testing/requests.ts";

const WHEN = new Date("2021-02-03T04:05:06.789Z");

async function start() {
	const server = await startFakeServer();
	const folder = mkdtempSync(join(tmpdir(), "shale-cp-"));
	const here = (name: string) => join(folder, name);
	return {
		server,
		here,
		tree: server.daemon.sandboxes.files,
		run: (args: readonly string[], stdin: string | Uint8Array = "") =>
			shale(["cp", ...args], { url: server.url, stdin }),
		/** Fails the test unless it copies without a word. */
		async copies(...args: readonly string[]) {
			const { exitCode, stderr, stdout } = await shale(["cp", ...args], { url: server.url });
			assert.deepEqual([exitCode, stderr, stdout.toString()], [0, "", ""]);
		},
		async [Symbol.asyncDispose]() {
			rmSync(folder, { recursive: true });
			await server[Symbol.asyncDispose]();
		},
	};
}

test("a file goes in and out with its mode and time, to a new name or into a directory", async () => {
	await using at = await start();
	writeFileSync(at.here("f"), "hello");
	chmodSync(at.here("f"), 0o4750);
	utimesSync(at.here("f"), WHEN, WHEN);
	at.tree.put("/tmp", { type: "directory" });
	await at.copies(at.here("f"), "sb-1:/new");
	await at.copies(at.here("f"), "sb-1:/tmp");
	for (const path of ["/new", "/tmp/f"]) {
		const file = at.tree.tree.get(path);
		assert.deepEqual(
			[at.tree.text(path), file?.mode, file?.modifiedAt],
			["hello", 0o4750, WHEN.toISOString()],
		);
	}
	assert.deepEqual([...at.tree.tree.keys()].toSorted(), ["/", "/new", "/tmp", "/tmp/f"]);
	mkdirSync(at.here("d"));
	await at.copies("sb-1:/tmp/f", at.here("back"));
	await at.copies("sb-1:/tmp/f", at.here("d"));
	for (const name of ["back", "d/f"]) {
		const { mode, mtime } = statSync(at.here(name));
		assert.deepEqual([readFileSync(at.here(name), "utf8"), mode & 0o7777, mtime], ["hello", 0o750, WHEN]);
	}
	await at.copies("--keep-setuid", "sb-1:/new", at.here("back"));
	assert.equal(statSync(at.here("back")).mode & 0o7777, 0o4750);
});

test("a directory goes in and out: to a new name, into a directory, or its contents", async () => {
	await using at = await start();
	mkdirSync(at.here("src/deep/er"), { recursive: true });
	writeFileSync(at.here("src/a"), "A");
	writeFileSync(at.here("src/deep/er/b"), "");
	symlinkSync("deep/er/b", at.here("src/l"));
	at.tree.put("/srv", { type: "directory" });
	const names = ["a", "deep", "deep/er", "deep/er/b", "l"];
	await at.copies(at.here("src"), "sb-1:/new");
	await at.copies(at.here("src"), "sb-1:/srv");
	await at.copies(`${at.here("src")}/.`, "sb-1:/srv");
	for (const path of ["/new", "/srv/src", "/srv"]) {
		for (const name of names) assert.ok(at.tree.tree.has(`${path}/${name}`), `${path}/${name}`);
		assert.equal(at.tree.tree.get(`${path}/l`)?.target, "deep/er/b");
		assert.equal(at.tree.text(`${path}/a`), "A");
	}
	await at.copies("sb-1:/new/", at.here("back"));
	mkdirSync(at.here("into"));
	await at.copies("sb-1:/new", at.here("into"));
	await at.copies("sb-1:/new/.", at.here("into"));
	for (const folder of ["back", "into/new", "into"]) {
		assert.equal(readFileSync(at.here(`${folder}/a`), "utf8"), "A");
		assert.equal(readlinkSync(at.here(`${folder}/l`)), "deep/er/b");
		assert.equal(readFileSync(at.here(`${folder}/deep/er/b`), "utf8"), "");
	}
});

test("files and directories go from sandbox to sandbox", async () => {
	await using at = await start();
	at.tree.put("/d", { type: "directory", mode: 0o700 });
	at.tree.put("/d/f", { text: "F", mode: 0o600 });
	await at.copies("sb-1:/d/f", "sb-1:/g");
	assert.deepEqual([at.tree.text("/g"), at.tree.tree.get("/g")?.mode], ["F", 0o600]);
	await at.copies("sb-1:/d", "sb-1:/e");
	assert.deepEqual([at.tree.text("/e/f"), at.tree.tree.get("/e")?.mode], ["F", 0o700]);
});

test("- is stdin and stdout", async () => {
	await using at = await start();
	const bytes = Buffer.alloc(3_000_000, Buffer.from("00ff0a80c3", "hex"));
	const into = await at.run(["-", "sb-1:/f"], bytes);
	assert.deepEqual([into.exitCode, into.stderr], [0, ""]);
	assert.ok(at.tree.tree.get("/f")?.data.equals(bytes));
	const out = await at.run(["sb-1:/f", "-"]);
	assert.ok(out.stdout.equals(bytes));
});

test("a symlink as DST is written through, as cp(1) does", async () => {
	await using at = await start();
	at.tree.put("/f", { text: "old" });
	at.tree.put("/l", { type: "symlink", target: "f" });
	writeFileSync(at.here("new"), "new");
	await at.copies(at.here("new"), "sb-1:/l");
	const { call, path } = at.tree.asked.at(-1) ?? {};
	assert.deepEqual([call, path], ["write", "/l"]);
	writeFileSync(at.here("target"), "old");
	symlinkSync("target", at.here("link"));
	at.tree.put("/g", { text: "from the sandbox" });
	await at.copies("sb-1:/g", at.here("link"));
	assert.equal(readFileSync(at.here("target"), "utf8"), "from the sandbox");
	assert.ok(lstatSync(at.here("link")).isSymbolicLink());
});

test("-u is whose rights count in every call", async () => {
	await using at = await start();
	at.tree.put("/f", { text: "x" });
	await at.copies("-u", "1000", "sb-1:/f", "sb-1:/g");
	assert.ok(at.tree.asked.length > 4);
	for (const { call, options } of at.tree.asked) {
		assert.equal((options as { user?: string }).user, "1000", call);
	}
});

for (const [title, args, exitCode, said] of [
	["two paths here", ["a", "b"], 2, /^shale: neither SRC nor DST is in a sandbox\nhint: .*SANDBOX:\/path/],
	["a relative path there", ["sb-1:a", "b"], 2, /begins with a slash\nhint: Write: sb-1:\/a/],
	["a source here that is missing", ["HERE/none", "sb-1:/x"], 4, /reading .*none: ENOENT/],
	["a source there that is missing", ["sb-1:/none", "HERE/x"], 4, /there is no \/none/],
	["a missing directory there", ["HERE/f", "sb-1:/no/f"], 4, /there is no directory \/no to copy into/],
	["a missing directory here", ["sb-1:/f", "HERE/no/f"], 4, /there is no directory .*no to copy into/],
	["a new name that ends with a slash", ["HERE/f", "sb-1:/new/"], 4, /there is no directory \/new\//],
	["a directory onto a file", ["HERE/d", "sb-1:/f"], 5, /\/f is no directory/],
	["a directory onto a file of its name", ["HERE/d", "sb-1:/taken"], 5, /\/taken\/d is no directory/],
	["a file onto a directory of its name", ["HERE/f", "sb-1:/over"], 5, /\/over\/f is a directory/],
	["stdin onto a directory", ["-", "sb-1:/over"], 5, /\/over is a directory\nhint: Name the file/],
	["a directory to stdout", ["sb-1:/over", "-"], 5, /^shale: - is no directory/],
	["a fifo there", ["sb-1:/pipe", "HERE/x"], 5, /\/pipe is neither a file nor a directory/],
	["onto a device here", ["sb-1:/f", "/dev/null"], 5, /\/dev\/null is neither/],
] as const) {
	test(`${title}: the error says so`, async () => {
		await using at = await start();
		writeFileSync(at.here("f"), "f");
		mkdirSync(at.here("d"));
		at.tree.put("/f", { text: "there" });
		for (const path of ["/taken", "/over", "/over/f"]) at.tree.put(path, { type: "directory" });
		at.tree.put("/taken/d");
		at.tree.put("/pipe", { type: "fifo" });
		const run = await at.run(args.map((word) => word.replace("HERE", at.here("."))));
		assert.equal(run.exitCode, exitCode, run.stderr);
		assert.match(run.stderr, said);
		assert.deepEqual(readdirSync(at.here(".")).toSorted(), ["d", "f"]);
		assert.equal(at.tree.text("/f"), "there");
	});
}

test("a hostile archive writes nothing outside of its target", async () => {
	await using at = await start();
	at.tree.put("/d", { type: "directory" });
	const body = "evil";
	at.tree.archives.set(
		"/d",
		await packTar([
			{ header: { name: "way", type: "symlink", size: 0, linkname: ".." } },
			{ header: { name: "way/evil", size: 4 }, body },
		]),
	);
	const run = await at.run(["sb-1:/d", at.here("target")]);
	assert.deepEqual([run.exitCode, existsSync(at.here("evil"))], [5, false]);
	assert.match(run.stderr, /target\/way is a symlink, which is not followed\n$/);
	at.tree.archives.set("/d", await packTar([{ header: { name: "../evil", size: 4 }, body }]));
	const up = await at.run(["sb-1:/d", at.here("target")]);
	assert.deepEqual([up.exitCode, existsSync(at.here("evil"))], [3, false]);
	at.tree.archives.set("/d", await packTar([{ header: { name: "\u001b[31mpipe", type: "fifo", size: 0 } }]));
	const fifo = await at.run(["sb-1:/d", at.here("target")]);
	assert.deepEqual(
		[fifo.exitCode, fifo.stderr],
		[0, "shale: left out ?[31mpipe: no file, directory or symlink\n"],
	);
});

test("a copy that breaks off leaves the old file, and nothing half-made", async () => {
	await using at = await start();
	writeFileSync(at.here("f"), "old");
	at.tree.put("/breaks");
	const run = await at.run(["sb-1:/breaks", at.here("f")]);
	assert.equal(run.exitCode, 9, run.stderr);
	assert.equal(readFileSync(at.here("f"), "utf8"), "old");
	assert.deepEqual(readdirSync(at.here(".")), ["f"]);
});

test("Ctrl-C ends a copy, and leaves nothing half-made", async () => {
	await using at = await start();
	at.tree.put("/endless");
	const env = { ...process.env, SHALE_URL: at.server.url, SHALE_CONFIG: "/nonexistent" };
	const child = spawn(process.execPath, [MAIN, "cp", "sb-1:/endless", at.here("f")], { env });
	await until(() => at.tree.readBytes > 1_000_000, "the copy is under way");
	child.kill("SIGINT");
	const [exitCode] = await once(child, "exit", { signal: AbortSignal.timeout(10_000) });
	assert.equal(exitCode, 130);
	assert.deepEqual(readdirSync(at.here(".")), []);
	await until(() => at.tree.isEnded, "the daemon reads no more");
});
