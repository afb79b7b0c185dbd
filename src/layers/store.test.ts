import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFile, mkdir, mkdtemp, readdir, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { ShaleError } from "../lib/errors.ts";
import { openLayerStore } from "./store.ts";

async function openStore(context: TestContext) {
	const hostFolder = await mkdtemp(join(tmpdir(), "shale-store-"));
	context.after(() => rm(hostFolder, { recursive: true }));
	return openLayerStore(hostFolder);
}

/** A superblock as the store checks it, and content that no mount would accept. */
function fakeImage(bytes = 4096): Buffer {
	const image = randomBytes(bytes);
	image.write("hsqs", 0, "latin1");
	image.writeUInt32LE(131_072, 12);
	image.writeUInt16LE(17, 22);
	image.writeUInt16LE(4, 28);
	image.writeBigUInt64LE(BigInt(bytes), 40);
	return image;
}

async function rejection(promise: Promise<unknown>): Promise<ShaleError> {
	const error = await promise.then(
		() => undefined,
		(reason: unknown) => reason,
	);
	assert.ok(error instanceof ShaleError, `rejected with ${error}`);
	return error;
}

test("an imported layer is listed with its digest, size and sources, also by a store opened later", async (context) => {
	const store = await openStore(context);
	const manifest = await store.import(Readable.from([fakeImage()]), { name: "000-a", description: "a base" });
	assert.match(manifest.digest, /^sha256:[0-9a-f]{64}$/);
	assert.equal(manifest.sizeBytes, 4096);
	assert.deepEqual(manifest.sources, [{ kind: "import" }]);
	assert.deepEqual(await store.verify("000-a"), manifest);
	const later = await openLayerStore(store.hostFolder);
	assert.deepEqual(await later.list(), [manifest]);
	assert.deepEqual(await later.verify("000-a"), manifest);
	assert.deepEqual((await readdir(store.hostFolder)).sort(), ["000-a.json", "000-a.squashfs"]);
});

test("a layer can be imported from a file, with progress to 100 percent", async (context) => {
	const store = await openStore(context);
	const file = join(store.hostFolder, "upload");
	await writeFile(file, fakeImage(300_000));
	let percent: number | undefined;
	await store.import(file, {
		name: "000-a",
		onProgress: (progress) => {
			percent = progress.percent;
		},
	});
	assert.equal(percent, 100);
	const missing = store.import(join(store.hostFolder, "missing"), { name: "000-b" });
	assert.equal((await rejection(missing)).code, "not_found");
});

test("what is no squashfs image, or is cut off, is refused and leaves nothing", async (context) => {
	const store = await openStore(context);
	const cases: [string, Buffer, RegExp][] = [
		["empty", Buffer.alloc(0), /less than a superblock/],
		["text", Buffer.alloc(4096, "x"), /does not begin with `hsqs`/],
		["cut", fakeImage().subarray(0, 4095), /it has 4096 bytes, the file has 4095/],
	];
	for (const [title, image, message] of cases) {
		const error = await rejection(store.import(Readable.from([image]), { name: "000-a" }));
		assert.equal(error.code, "invalid_argument", title);
		assert.match(error.message, message);
	}
	assert.deepEqual(await readdir(store.hostFolder), []);
});

test("a truncated, changed or missing image is damage that names the layer and the fix", async (context) => {
	const store = await openStore(context);
	const image = fakeImage();
	await store.import(Readable.from([image]), { name: "000-a" });
	const hostPath = store.hostPath("000-a");
	await truncate(hostPath, 4000);
	const truncated = await rejection(store.verify("000-a"));
	assert.equal(truncated.code, "layer_damaged");
	assert.match(truncated.message, /^layer 000-a is damaged: its image has 4000 bytes, not 4096$/);
	assert.match(truncated.hint ?? "", /again with replace/);
	await writeFile(hostPath, fakeImage());
	assert.match(
		(await rejection(store.verify("000-a"))).message,
		/has the digest sha256:[0-9a-f]+, not sha256:/,
	);
	await writeFile(hostPath, image);
	await store.verify("000-a");
	await rm(hostPath);
	assert.match((await rejection(store.verify("000-a"))).message, /its image is missing/);
});

test("a change that keeps size and modification time is noticed", async (context) => {
	const store = await openStore(context);
	await store.import(Readable.from([fakeImage()]), { name: "000-a" });
	const hostPath = store.hostPath("000-a");
	await utimes(hostPath, 1, 1);
	await store.verify("000-a");
	await writeFile(hostPath, fakeImage());
	await utimes(hostPath, 1, 1);
	assert.equal((await rejection(store.verify("000-a"))).code, "layer_damaged");
});

test("a manifest that cannot be read is damage of its layer only", async (context) => {
	const store = await openStore(context);
	const good = await store.import(Readable.from([fakeImage()]), { name: "000-a" });
	await store.import(Readable.from([fakeImage()]), { name: "100-b" });
	await appendFile(join(store.hostFolder, "100-b.json"), "}");
	assert.equal((await rejection(store.get("100-b"))).code, "layer_damaged");
	assert.deepEqual(await store.list(), [good]);
	assert.deepEqual(
		(await store.listDamaged()).map(({ details }) => details),
		[{ layer: "100-b" }],
	);
	await store.remove("100-b", { inUse: () => false });
	assert.deepEqual(await store.listDamaged(), []);
});

test("an existing layer is replaced only when asked, and only by an image", async (context) => {
	const store = await openStore(context);
	const first = await store.import(Readable.from([fakeImage()]), { name: "000-a" });
	assert.equal(
		(await rejection(store.import(Readable.from([fakeImage()]), { name: "000-a" }))).code,
		"conflict",
	);
	const broken = store.import(Readable.from([Buffer.alloc(5)]), { name: "000-a", replace: true });
	assert.equal((await rejection(broken)).code, "invalid_argument");
	assert.deepEqual(await store.verify("000-a"), first);
	const second = await store.import(Readable.from([fakeImage()]), { name: "000-a", replace: true });
	assert.notEqual(second.digest, first.digest);
	assert.deepEqual(await store.verify("000-a"), second);
});

test("two imports of one layer at the same time: the second is a conflict", async (context) => {
	const store = await openStore(context);
	const first = store.import(Readable.from([fakeImage()]), { name: "000-a" });
	const second = store.import(Readable.from([fakeImage()]), { name: "000-a" });
	assert.equal((await rejection(second)).code, "conflict");
	await first;
});

test("a cancelled import and one over its limit leave nothing", async (context) => {
	const store = await openStore(context);
	const abort = new AbortController();
	const endless = Readable.from(
		(function* () {
			for (;;) yield Buffer.alloc(65_536);
		})(),
	);
	setTimeout(() => abort.abort(), 20);
	const cancelled = await rejection(store.import(endless, { name: "000-a", signal: abort.signal }));
	assert.equal(cancelled.code, "cancelled");
	const large = store.import(Readable.from([fakeImage()]), { name: "000-a", maxBytes: 4095 });
	assert.equal((await rejection(large)).code, "too_large");
	assert.deepEqual(await readdir(store.hostFolder), []);
});

test("a layer in use is not removed, and an unknown one is not found", async (context) => {
	const store = await openStore(context);
	await store.import(Readable.from([fakeImage()]), { name: "000-a" });
	assert.equal((await rejection(store.remove("000-a", { inUse: () => true }))).code, "conflict");
	await store.remove("000-a", { inUse: () => false });
	assert.deepEqual(await readdir(store.hostFolder), []);
	assert.equal((await rejection(store.remove("000-a", { inUse: () => false }))).code, "not_found");
	assert.equal((await rejection(store.get("000-a"))).code, "not_found");
	assert.equal((await rejection(store.get("../000-a"))).code, "invalid_argument");
});

test("opening removes what a dead process left and keeps what a living one is writing", async (context) => {
	const store = await openStore(context);
	const own = await store.createWorkFolder();
	const dead = join(store.hostFolder, `.partial-${process.pid}-1-dead`);
	await mkdir(dead);
	await writeFile(join(dead, "image"), "half");
	await openLayerStore(store.hostFolder);
	assert.deepEqual(await readdir(store.hostFolder), [own.slice(store.hostFolder.length + 1)]);
});
