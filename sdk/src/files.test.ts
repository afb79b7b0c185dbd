import assert from "node:assert/strict";
import { test } from "node:test";
import { startFakeServer } from "../../src/api/testing/fake-daemon.ts";
import { PIECE_BYTES } from "../../src/api/testing/fake-files.ts";
import { until } from "../../src/api/testing/requests.ts";
import { nodeHttp } from "../../src/cli/node-http.ts";
import { fetchHttp, type Sandbox, Shale, ShaleApiError, ShaleConnectionError } from "./index.ts";

/** Both ways of doing HTTP, as the CLI does it by another than the rest of the world. */
for (const [name, http] of Object.entries({ fetch: fetchHttp, nodeHttp })) {
	const withFiles = async () => {
		const server = await startFakeServer();
		const sandbox: Sandbox = new Shale({ url: server.url, http }).sandboxes.open("sb-1");
		return {
			server,
			tree: server.daemon.sandboxes.files,
			files: sandbox.files,
			[Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
		};
	};

	test(`${name}: a file is written from all kinds of data and read back`, async () => {
		await using fake = await withFiles();
		const { files } = fake;
		async function* pieces() {
			yield Buffer.from("pie");
			yield Buffer.from("ces");
		}
		assert.equal((await files.write("/a b?&#", "text ü", { mode: 0o600, user: "app" })).mode, 0o600);
		assert.equal(await files.readText("/a b?&#"), "text ü");
		await files.write("/bytes", Uint8Array.of(0, 255));
		assert.deepEqual(await files.read("/bytes"), Uint8Array.of(0, 255));
		await files.write("/blob", new Blob(["blob"]));
		await files.write("/pieces", pieces());
		await files.write("/stream", ReadableStream.from(pieces()));
		await files.write("/none", "");
		for (const [path, text] of Object.entries({
			blob: "blob",
			pieces: "pieces",
			stream: "pieces",
			none: "",
		})) {
			assert.equal(await files.readText(`/${path}`), text);
		}
		assert.equal(await files.readText("/blob", { offset: 1, length: 2 }), "lo");
		assert.equal(await files.readText("/blob", { offset: 2 }), "ob");
		await assert.rejects(files.read("/blob", { length: 0 }), RangeError);
		await assert.rejects(files.read("/blob", { offset: 9 }), { code: "invalid_argument", status: 416 });
	});

	test(`${name}: what fails is typed`, async () => {
		await using fake = await withFiles();
		const { files } = fake;
		await assert.rejects(files.read("/nothing"), { name: "ShaleApiError", code: "not_found" });
		await assert.rejects(files.write("/", "x"), { code: "conflict" });
		await files.write("/x", "x");
		await assert.rejects(files.write("/x", "y", { overwrite: false }), { code: "conflict" });
		await assert.rejects(files.read("/breaks"), ShaleConnectionError);
		await assert.rejects(async () => {
			for await (const _ of await files.download("/breaks"));
		}, ShaleConnectionError);
		await assert.rejects(files.readText("/x", { signal: AbortSignal.abort(new Error("enough")) }), /enough/);
	});

	test(`${name}: data that fails in the middle is the write's error, and leaves the old file`, async () => {
		await using fake = await withFiles();
		const { files, tree } = fake;
		await files.write("/x", "old");
		async function* broken() {
			yield Buffer.alloc(PIECE_BYTES);
			throw new Error("the disk is on fire");
		}
		await assert.rejects(files.write("/x", broken()), /on fire/);
		await until(() => tree.writeError !== undefined, "the daemon has noticed");
		assert.equal(tree.text("/x"), "old");
	});

	test(`${name}: leaving a stream, or aborting it, ends the reading`, async () => {
		await using fake = await withFiles();
		const { files, tree } = fake;
		for await (const chunk of await files.readStream("/endless")) {
			assert.ok(chunk.length > 0);
			break;
		}
		await until(() => tree.isEnded, "the source is ended");
		tree.isEnded = false;
		const abort = new AbortController();
		const stream = await files.readStream("/endless", { signal: abort.signal });
		await assert.rejects(async () => {
			for await (const _ of stream) abort.abort(new Error("enough"));
		}, /enough/);
		await until(() => tree.isEnded, "the source is ended");
	});

	test(`${name}: directories, names, modes and owners`, async () => {
		await using fake = await withFiles();
		const { files } = fake;
		assert.equal((await files.makeDir("/d", { mode: 0o700 })).mode, 0o700);
		await files.makeDir("/d", { parents: true });
		await files.write("/d/a", "a");
		const { entries, truncated } = await files.list("/", { depth: 2, limit: 9 });
		assert.deepEqual(
			[entries.map(({ path, type }) => [path, type]), truncated],
			[
				[
					["/d", "directory"],
					["/d/a", "file"],
				],
				false,
			],
		);
		assert.equal((await files.move("/d/a", "/d/b")).path, "/d/b");
		assert.equal((await files.chmod("/d/b", 0o4755)).mode, 0o4755);
		const owned = await files.chown("/d/b", { uid: 5 });
		assert.deepEqual([owned.uid, owned.gid], [5, 0]);
		await assert.rejects(files.remove("/d"), ShaleApiError);
		await files.remove("/d", { recursive: true });
		assert.equal(await files.exists("/d"), false);
		assert.equal(await files.exists("/"), true);
	});

	test(`${name}: a directory is downloaded and uploaded as a tar`, async () => {
		await using fake = await withFiles();
		const { files, tree } = fake;
		await files.makeDir("/d");
		await files.write("/d/a", "A");
		assert.deepEqual(await files.upload("/e", await files.download("/d")), { entries: 2 });
		assert.equal(tree.text("/e/a"), "A");
	});

	test(`${name}: a watch tells what changes, its end, and its error`, async () => {
		await using fake = await withFiles();
		const { files, tree } = fake;
		const event = { type: "moved_to", path: "/d/x y", isDirectory: true } as const;
		const events = await files.watch("/", { recursive: true });
		tree.emitEvent(event);
		assert.deepEqual((await events.next()).value, event);
		const broken = events.next();
		tree.emitEvent(new ShaleErrorLike());
		await assert.rejects(broken, { code: "internal" });
		await until(() => tree.isEnded, "the watch has ended");
		tree.isEnded = false;
		for await (const _ of await watchOne(files, () => tree.emitEvent(event))) break;
		await until(() => tree.isEnded, "leaving the loop ends the watch");
		await assert.rejects(files.watch("/none"), { code: "not_found" });
	});
}

test("exists says that there is no such sandbox", async () => {
	await using server = await startFakeServer();
	const { files } = new Shale({ url: server.url }).sandboxes.open("sb-2");
	await assert.rejects(files.exists("/none"), { code: "not_found", message: /sb-2/ });
});

class ShaleErrorLike extends Error {}

async function watchOne(files: Sandbox["files"], emit: () => void) {
	const events = await files.watch("/");
	emit();
	return events;
}
