/** Hostile tars: whatever is in them, nothing outside of the target is made, changed or followed. */
import assert from "node:assert/strict";
import {
	existsSync,
	linkSync,
	lstatSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	readlinkSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { packTar, type TarHeader } from "modern-tar";
import { unpack } from "./tar-unpack.ts";

let folder = "";
let target = "";

beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "shale-unpack-"));
	target = join(folder, "target");
	mkdirSync(target);
	mkdirSync(join(folder, "outside"));
	writeFileSync(join(folder, "outside", "victim"), "untouched");
});

afterEach(() => {
	assert.equal(readFileSync(join(folder, "outside", "victim"), "utf8"), "untouched");
	assert.deepEqual(readdirSync(join(folder, "outside")), ["victim"]);
	assert.deepEqual(readdirSync(folder).toSorted(), ["outside", "target"]);
	rmSync(folder, { recursive: true });
});

type Entry = Partial<TarHeader> & { readonly name: string; readonly text?: string };

async function unpackEntries(entries: readonly Entry[], { keepSetuid = false } = {}) {
	const tar = await packTar(
		entries.map(({ text, ...header }) => ({
			header: { size: text?.length ?? 0, ...header },
			...(text !== undefined && { body: text }),
		})),
	);
	return await unpackBytes(tar, { keepSetuid });
}

async function unpackBytes(tar: Uint8Array, { keepSetuid = false } = {}) {
	const skipped: string[] = [];
	async function* pieces() {
		for (let at = 0; at < tar.length; at += 700) yield tar.subarray(at, at + 700);
	}
	await unpack(target, pieces(), { keepSetuid, onSkip: (name) => skipped.push(name) });
	return skipped;
}

function read(name: string): string {
	return readFileSync(join(target, name), "utf8");
}

test("files, directories and symlinks are made with their modes and times", async () => {
	const mtime = new Date("2020-01-02T03:04:05Z");
	await unpackEntries([
		{ name: "./", type: "directory", mode: 0o700 },
		{ name: "d/", type: "directory", mode: 0o500, mtime },
		{ name: "d/f", text: "in a directory that nobody may write to", mode: 0o640, mtime },
		{ name: "l", type: "symlink", linkname: "d/f", mtime },
		{ name: "h", type: "link", linkname: "d/f" },
		{ name: "made/on/the/way", text: "x" },
	]);
	assert.equal(read("l"), "in a directory that nobody may write to");
	assert.equal(lstatSync(join(target, "d")).mode & 0o7777, 0o500);
	const { mode, mtime: fileTime, nlink } = lstatSync(join(target, "d/f"));
	assert.deepEqual([mode & 0o7777, fileTime, nlink], [0o640, mtime, 2]);
	assert.deepEqual(lstatSync(join(target, "d")).mtime, mtime);
	assert.deepEqual(lstatSync(join(target, "l")).mtime, mtime);
	assert.equal(read("made/on/the/way"), "x");
});

for (const name of ["../evil", "d/../../evil", "/etc/evil", "d/..", ".."]) {
	test(`the name ${name} is refused`, async () => {
		await assert.rejects(unpackEntries([{ name, text: "x" }]), { code: "forbidden" });
		assert.deepEqual(readdirSync(target), []);
	});
}

test("a symlink of the archive is not written through", async () => {
	const link: Entry = { name: "way", type: "symlink", linkname: "../outside" };
	for (const entry of [
		{ name: "way/victim", text: "overwritten" },
		{ name: "way/new", text: "x" },
		{ name: "way/d/", type: "directory" as const },
		{ name: "way/l", type: "symlink" as const, linkname: "x" },
		{ name: "way/h", type: "link" as const, linkname: "way" },
	]) {
		await assert.rejects(unpackEntries([link, entry]), { code: "conflict", message: /symlink/ });
	}
});

test("a symlink that was there before is not gone through either", async () => {
	symlinkSync("../outside", join(target, "way"));
	await assert.rejects(unpackEntries([{ name: "way/victim", text: "x" }]), { code: "conflict" });
	await assert.rejects(unpackEntries([{ name: "way/", type: "directory" }]), { code: "conflict" });
});

test("a file takes the place of a symlink, and does not go where it points", async () => {
	symlinkSync("../outside/victim", join(target, "f"));
	await unpackEntries([
		{ name: "f", text: "here" },
		{ name: "g", type: "symlink", linkname: "../outside/victim" },
		{ name: "g", text: "here too" },
	]);
	assert.ok(lstatSync(join(target, "f")).isFile());
	assert.deepEqual([read("f"), read("g")], ["here", "here too"]);
});

test("a file takes the place of a hard link, and leaves the other name alone", async () => {
	linkSync(join(folder, "outside", "victim"), join(target, "f"));
	await unpackEntries([{ name: "f", text: "new", mode: 0o777 }]);
	assert.equal(read("f"), "new");
	assert.notEqual(lstatSync(join(folder, "outside", "victim")).mode & 0o777, 0o777);
});

test("a hard link leads to a file below the target, and nowhere else", async () => {
	for (const linkname of ["../outside/victim", "/etc/passwd", "l", "d"]) {
		await assert.rejects(
			unpackEntries([
				{ name: "l", type: "symlink", linkname: "../outside/victim" },
				{ name: "d/", type: "directory" },
				{ name: "h", type: "link", linkname },
			]),
		);
		assert.equal(existsSync(join(target, "h")), false);
	}
	const through: Entry[] = [
		{ name: "way", type: "symlink", linkname: "../outside" },
		{ name: "h", type: "link", linkname: "way/victim" },
	];
	await assert.rejects(unpackEntries(through), { code: "conflict" });
});

test("a directory is not replaced, nor is what is no directory", async () => {
	mkdirSync(join(target, "d"));
	await assert.rejects(unpackEntries([{ name: "d", text: "x" }]), { code: "conflict" });
	await assert.rejects(unpackEntries([{ name: "d", type: "symlink", linkname: "x" }]), { code: "conflict" });
	writeFileSync(join(target, "f"), "file");
	await assert.rejects(unpackEntries([{ name: "f/", type: "directory" }]), { code: "conflict" });
	await assert.rejects(unpackEntries([{ name: "f/g", text: "x" }]), { code: "conflict" });
	assert.equal(read("f"), "file");
	assert.deepEqual(readdirSync(target).toSorted(), ["d", "f"]);
});

test("setuid, setgid and sticky bits are dropped unless they are asked for", async () => {
	const entries: Entry[] = [
		{ name: "d/", type: "directory", mode: 0o3755 },
		{ name: "d/f", text: "x", mode: 0o6755 },
	];
	const modes = () => ["d", "d/f"].map((name) => lstatSync(join(target, name)).mode & 0o7777);
	await unpackEntries(entries);
	assert.deepEqual(modes(), [0o755, 0o755]);
	rmSync(join(target, "d"), { recursive: true });
	await unpackEntries(entries, { keepSetuid: true });
	assert.deepEqual(modes(), [0o3755, 0o6755]);
});

test("devices and fifos are left out, and told", async () => {
	const skipped = await unpackEntries([
		{ name: "null", type: "character-device" },
		{ name: "disk", type: "block-device" },
		{ name: "pipe", type: "fifo" },
		{ name: "f", text: "x" },
	]);
	assert.deepEqual(skipped, ["null", "disk", "pipe"]);
	assert.deepEqual(readdirSync(target), ["f"]);
});

test("long names come whole, as pax and ustar have them", async () => {
	const name = `${"d".repeat(120)}/${"e".repeat(120)}/${"f".repeat(200)}`;
	const linkname = `${"t/".repeat(150)}x`;
	await unpackEntries([
		{ name, text: "deep" },
		{ name: "l", type: "symlink", linkname },
		{ name: "ünï", text: "code" },
	]);
	assert.equal(read(name), "deep");
	assert.equal(readlinkSync(join(target, "l")), linkname);
	assert.equal(read("ünï"), "code");
});

test("an archive that is cut, damaged or none fails, and leaves no half file", async () => {
	const whole = await packTar([{ header: { name: "f", size: 100_000 }, body: new Uint8Array(100_000) }]);
	for (const length of [100, 600, 50_000, whole.length - 1024]) {
		await assert.rejects(unpackBytes(whole.subarray(0, length)), `cut at ${length}`);
		assert.equal(readdirSync(target).filter((name) => name.startsWith(".")).length, 0);
	}
	rmSync(join(target, "f"), { force: true });
	const damaged = Uint8Array.from(whole);
	damaged.fill(0x37, 0, 20);
	await assert.rejects(unpackBytes(damaged));
	await assert.rejects(unpackBytes(new Uint8Array(2048).fill(0x41)));
	assert.deepEqual(readdirSync(target), []);
});

test("an extension header without end is not collected", async () => {
	const [header] = [await packTar([{ header: { name: "x", type: "pax-header", size: 1 }, body: "1" }])];
	const claim = Buffer.from(header.subarray(0, 512));
	claim.write("77777777777\0", 124, "latin1");
	claim.fill(" ", 148, 156);
	const sum = claim.reduce((total, byte) => total + byte, 0);
	claim.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
	let given = 0;
	async function* endless() {
		yield claim;
		for (;;) {
			given += 65_536;
			yield Buffer.alloc(65_536, "a");
		}
	}
	await assert.rejects(unpack(target, endless(), { keepSetuid: false, onSkip: () => undefined }));
	assert.ok(given < 16 * 1024 * 1024);
});
