import assert from "node:assert/strict";
import { test } from "node:test";
import { extracted, fileInfo, fileList } from "../schemas/files.ts";
import { createFakeApi } from "../testing/fake-daemon.ts";
import { WRITTEN_AT } from "../testing/fake-files.ts";
import { expectError, expectJson, postJson, until } from "../testing/requests.ts";

const FILES = "/v1/sandboxes/sb-1/files";

function createFilesApi() {
	const { api, daemon, lines } = createFakeApi();
	return { app: api.app, files: daemon.sandboxes.files, lines };
}

function patchJson(value: unknown) {
	return { ...postJson(value), method: "PATCH" };
}

test("a path is described, with its mode in octal", async () => {
	const { app, files } = createFilesApi();
	files.put("/a b", { text: "hello", mode: 0o4755, uid: 7, gid: 8 });
	files.put("/link", { type: "symlink", target: "a b" });
	const info = {
		type: "file",
		sizeBytes: 5,
		mode: "4755",
		uid: 7,
		gid: 8,
		modifiedAt: WRITTEN_AT,
		target: null,
	};
	assert.deepEqual(await expectJson(await app.request(`${FILES}?path=/a%20b`), 200, fileInfo), {
		name: "a b",
		path: "/a b",
		...info,
	});
	const link = await expectJson(await app.request(`${FILES}?path=/link`), 200, fileInfo);
	assert.deepEqual((link as { type: string; target: string }).target, "a b");
	const followed = await app.request(`${FILES}?path=/link&followSymlinks=true&user=1000`);
	assert.equal(((await followed.json()) as { sizeBytes: number }).sizeBytes, 5);
	assert.equal(files.options.user, "1000");
	await expectError(await app.request(`${FILES}?path=/none`), 404);
});

for (const [query, said] of [
	["", "path: is required"],
	["?path=etc", "path: must be an absolute path inside the sandbox, beginning with /"],
	["?path=/a/../b", "path: must not contain .."],
	["?path=/a%00b", "path: must not contain a NUL byte"],
	[`?path=/${"a".repeat(4095)}`, "path: must have at most 4095 bytes in UTF-8"],
	["?path=/%ff", "the query is not percent-encoded UTF-8 (RFC 3986 §2.5)"],
	["?path=/a&path=/b", "path: must be given once, not 2 times"],
	["?path=/a&folow=true", 'unknown field "folow"; known fields are path, followSymlinks, user'],
	["?path=/a&followSymlinks=yes", "followSymlinks: must be one of true, false"],
] as const) {
	test(`the query ${query.slice(0, 30)} is refused: ${said}`, async () => {
		const { app } = createFilesApi();
		assert.equal((await expectError(await app.request(`${FILES}${query}`), 400)).message, said);
	});
}

test("a directory is listed to a depth and a limit", async () => {
	const { app, files } = createFilesApi();
	for (const path of ["/d", "/d/e"]) files.put(path, { type: "directory" });
	for (const path of ["/d/a", "/d/e/f"]) files.put(path);
	const names = async (query: string) => {
		const list = await expectJson(await app.request(`${FILES}/list?path=/d${query}`), 200, fileList);
		const { entries, truncated } = list as { entries: { path: string }[]; truncated: boolean };
		return [...entries.map(({ path }) => path), truncated];
	};
	assert.deepEqual(await names(""), ["/d/a", "/d/e", false]);
	assert.deepEqual(await names("&depth=2"), ["/d/a", "/d/e", "/d/e/f", false]);
	assert.deepEqual(await names("&depth=2&limit=2"), ["/d/a", "/d/e", true]);
	for (const query of ["depth=0", "depth=65", "limit=0", "limit=100001", "limit=1e3"]) {
		await expectError(await app.request(`${FILES}/list?path=/d&${query}`), 400);
	}
});

test("a file is written whole, with its mode, and told as it is now", async () => {
	const { app, files } = createFilesApi();
	const put = (query: string, init: RequestInit = {}) =>
		app.request(`${FILES}/content?${query}`, { method: "PUT", body: "hello", ...init });
	const info = await expectJson(await put("path=/x/new&mode=600&parents=true&user=app"), 200, fileInfo);
	assert.equal((info as { mode: string }).mode, "0600");
	assert.equal(files.text("/x/new"), "hello");
	const { signal, ...options } = files.options;
	assert.ok(signal instanceof AbortSignal);
	assert.deepEqual(options, { user: "app", mode: 0o600, parents: true, overwrite: undefined });
	await expectError(await put("path=/x/new&overwrite=false"), 409);
	await expectError(await put("path=/"), 409);
	await expectError(await put("path=/a&mode=99"), 400);
	await expectError(await put("path=/a&mode=rw"), 400);
	const part = await put("path=/x/new", { headers: { "content-range": "bytes 0-4/10" } });
	assert.match((await expectError(part, 400)).message, /^Content-Range: /);
	assert.equal((await app.request(`${FILES}/content?path=/empty`, { method: "PUT" })).status, 200);
	assert.equal(files.text("/empty"), "");
});

test("directories are made, files moved, changed and removed", async () => {
	const { app, files } = createFilesApi();
	const made = await app.request(`${FILES}/directories`, postJson({ path: "/d", mode: "0700" }));
	assert.equal(((await expectJson(made, 201, fileInfo)) as { mode: string }).mode, "0700");
	await expectError(await app.request(`${FILES}/directories`, postJson({ path: "/d" })), 409);
	files.put("/f", { text: "moved" });
	const moved = await app.request(`${FILES}/move`, postJson({ from: "/f", to: "/d/g", overwrite: true }));
	assert.equal(((await expectJson(moved, 200, fileInfo)) as { path: string }).path, "/d/g");
	assert.equal(files.options.overwrite, true);
	const changed = await app.request(`${FILES}?path=/d/g`, patchJson({ mode: "0400", uid: 5 }));
	const { mode, uid, gid } = (await expectJson(changed, 200, fileInfo)) as Record<string, unknown>;
	assert.deepEqual([mode, uid, gid], ["0400", 5, 0]);
	for (const change of [{}, { mode: 420 }, { uid: -1 }, { gid: 0xffff_ffff }, { owner: "root" }]) {
		await expectError(await app.request(`${FILES}?path=/d/g`, patchJson(change)), 400);
	}
	const remove = (query: string) => app.request(`${FILES}?path=${query}`, { method: "DELETE" });
	await expectError(await remove("/d"), 409);
	assert.equal((await remove("/d&recursive=true")).status, 204);
	assert.deepEqual([...files.tree.keys()], ["/"]);
});

test("a directory goes out as a tar and comes in as one", async () => {
	const { app, files } = createFilesApi();
	files.put("/d", { type: "directory" });
	files.put("/d/a", { text: "A", mode: 0o755 });
	files.put("/d/l", { type: "symlink", target: "a" });
	const out = await app.request(`${FILES}/archive?path=/d`);
	assert.equal(out.headers.get("content-type"), "application/x-tar");
	const body = new Uint8Array(await out.arrayBuffer());
	const back = await app.request(`${FILES}/archive?path=/copy`, { method: "PUT", body });
	assert.deepEqual(await expectJson(back, 200, extracted), { entries: 3 });
	assert.equal(files.text("/copy/a"), "A");
	assert.equal(files.tree.get("/copy/l")?.target, "a");
	await expectError(await app.request(`${FILES}/archive?path=/none`), 404);
	assert.equal((await app.request(`${FILES}/archive?path=/d`, { method: "HEAD" })).status, 404);
});

test("a watch tells events as they come and ends when its reader leaves", async () => {
	const { app, files } = createFilesApi();
	const response = await app.request(`${FILES}/watch?path=/&recursive=true`);
	assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
	assert.equal(files.options.recursive, true);
	const event = { type: "created", path: "/a", isDirectory: false } as const;
	files.emitEvent(event);
	const reader = response.body?.getReader();
	const { value } = (await reader?.read()) ?? {};
	assert.equal(Buffer.from(value ?? []).toString(), `event: created\ndata: ${JSON.stringify(event)}\n\n`);
	await reader?.cancel();
	await until(() => files.isEnded, "the watch has ended");
	await expectError(await app.request(`${FILES}/watch?path=/none`), 404);
});
