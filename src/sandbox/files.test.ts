/** Files as the core does it: whose rights, errors and their words, streams. A real agent is in place of a sandbox. */

import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { chunked } from "../../test/support/file-operations.ts";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import { missingRoot } from "../../test/support/requirements.ts";
import { type ErrorCode, ShaleError } from "../lib/errors.ts";
import type { SandboxFiles } from "./file-types.ts";
import type { OpenSandboxes } from "./sandboxes.ts";
import { FakeHost } from "./testing/fake-core.ts";

const MIB = 2 ** 20;
const NOBODY = 65_534;

describe("files of the core", { skip: missingAgent() }, () => {
	let agent: RealAgent;
	let host: FakeHost;
	let sandboxes: OpenSandboxes;
	let files: SandboxFiles;
	let directory: string;
	const id = "sb";

	before(async () => {
		agent = await startAgent();
	});
	after(() => agent.stop());
	beforeEach(async () => {
		host = new FakeHost();
		const backend = host.backend.open();
		host.backend.open = () => ({
			...backend,
			launch: async (spec) => ({ ...(await backend.launch(spec)), connect: () => agent.connect() }),
		});
		sandboxes = await host.open();
		await sandboxes.create({ id });
		files = sandboxes.files;
		directory = fs.mkdtempSync(join(tmpdir(), "shale-core-files-"));
		fs.chmodSync(directory, 0o777);
	});
	afterEach(async () => {
		await sandboxes.close();
		host[Symbol.dispose]();
		fs.rmSync(directory, { recursive: true, force: true });
	});

	const at = (name: string) => join(directory, name);
	const text = (content: string) => chunked(Buffer.from(content));

	async function fails(
		code: ErrorCode,
		message: RegExp | string,
		promise: Promise<unknown>,
	): Promise<ShaleError> {
		const error = await promise.then(
			() => assert.fail("it did not fail"),
			(reason: unknown) => reason,
		);
		assert.ok(error instanceof ShaleError, String(error));
		if (typeof message === "string") assert.equal(error.message, message);
		else assert.match(error.message, message);
		assert.equal(error.code, code);
		return error;
	}

	async function read(path: string, options = {}): Promise<string> {
		const pieces: Buffer[] = [];
		for await (const piece of (await files.read(id, path, options)).data) pieces.push(piece);
		return Buffer.concat(pieces).toString();
	}

	test("a file is written, looked at, read, moved and removed", async () => {
		const written = await files.write(id, at("a/file"), text("content"), { parents: true, mode: 0o600 });
		assert.deepEqual(written, await files.stat(id, at("a/file")));
		assert.deepEqual(
			{ ...written, modifiedAt: undefined },
			{
				name: "file",
				path: at("a/file"),
				type: "file",
				sizeBytes: 7,
				mode: 0o600,
				uid: process.getuid?.(),
				gid: process.getgid?.(),
				modifiedAt: undefined,
				target: null,
			},
		);
		assert.equal(await read(at("a/file")), "content");
		const moved = await files.move(id, { from: at("a/file"), to: at("moved") });
		assert.deepEqual([moved.path, moved.name], [at("moved"), "moved"]);
		assert.equal((await files.setAttributes(id, at("moved"), { mode: 0o644 })).mode, 0o644);
		await files.remove(id, at("moved"));
		await files.remove(id, at("a"));
		assert.deepEqual(fs.readdirSync(directory), []);
	});

	test("a list is sorted by path, and says when there is more", async () => {
		await files.makeDirectory(id, at("b/c"), { parents: true });
		for (const name of ["b/x", "a", "c"]) fs.writeFileSync(at(name), "");
		const list = await files.list(id, `${directory}//`, { depth: 2 });
		assert.deepEqual(
			list.entries.map(({ path }) => path),
			["a", "b", "b/c", "b/x", "c"].map(at),
		);
		assert.equal(list.truncated, false);
		const { entries, truncated } = await files.list(id, directory, { limit: 2 });
		assert.deepEqual([entries.length, truncated], [2, true]);
		assert.equal((await files.list(id, directory, { limit: 3 })).truncated, false);
		assert.ok(
			(await files.list(id, "/")).entries.some(({ path, name }) => path === "/etc" && name === "etc"),
		);
	});

	test("a range is as long as it says, and one beyond the end names the size", async () => {
		fs.writeFileSync(at("file"), "0123456789");
		const { offset, lengthBytes, info } = await files.read(id, at("file"), { offset: 7, length: 100 });
		assert.deepEqual([offset, lengthBytes, info.sizeBytes], [7, 3, 10]);
		assert.equal(await read(at("file"), { offset: 2, length: 3 }), "234");
		assert.equal(await read(at("file"), { offset: 10 }), "");
		const error = await fails("invalid_argument", /^offset: 11/, files.read(id, at("file"), { offset: 11 }));
		assert.deepEqual(error.details, { sizeBytes: 10 });
	});

	test("an error says what was done to which path in which sandbox, and why", async () => {
		fs.mkdirSync(at("full/x"), { recursive: true });
		fs.writeFileSync(at("file"), "");
		const missing = at("missing");
		await fails(
			"not_found",
			`reading ${missing} in sandbox sb: no such file or directory`,
			files.read(id, missing),
		);
		await fails("not_found", /^looking at /, files.stat(id, missing));
		await fails("conflict", /^listing .*: not a directory$/, files.list(id, at("file")));
		await fails("conflict", /^removing .*: the directory is not empty$/, files.remove(id, at("full")));
		await fails(
			"conflict",
			/^making the directory .*: it exists already$/,
			files.makeDirectory(id, at("full")),
		);
		await fails("conflict", /^reading .*: it is a directory$/, files.read(id, at("full")));
		await fails("invalid_argument", /^writing .*regular file$/, files.write(id, "/dev/null", text("")));
		await fails("not_found", /^extracting into \/proc\/x/, files.extract(id, "/proc/x", text("")));
		await fails(
			"conflict",
			`moving ${at("file")} to ${at("full")} in sandbox sb: it exists already`,
			files.move(id, { from: at("file"), to: at("full") }),
		);
		await fails(
			"invalid_argument",
			`extracting into ${at("full")} in sandbox sb: it is not a tar archive; a compressed one is to be unpacked first`,
			files.extract(id, at("full"), chunked(Buffer.alloc(512, 1))),
		);
	});

	test("bad paths and numbers name their field before anything is asked", async () => {
		for (const path of ["", "relative", "/nul\0", `/${"x".repeat(4095)}`])
			await fails("invalid_argument", /^path: /, (async () => files.stat(id, path))());
		await fails("invalid_argument", /^to: /, (async () => files.move(id, { from: "/a", to: "b" }))());
		await fails("invalid_argument", /^depth: /, (async () => files.list(id, "/", { depth: 65 }))());
		await fails("invalid_argument", /^limit: /, (async () => files.list(id, "/", { limit: 0 }))());
		await fails("invalid_argument", /^offset: /, (async () => files.read(id, "/", { offset: -1 }))());
		await fails("not_found", /no sandbox nobody/, (async () => files.stat("nobody", "/"))());
	});

	test("the sandbox's user has the rights, or the one that the call names", {
		skip: missingRoot(),
	}, async () => {
		await sandboxes.create({ id: "of-nobody", user: String(NOBODY) });
		fs.writeFileSync(at("secret"), "", { mode: 0o600 });
		await fails("forbidden", /permission denied$/, files.read("of-nobody", at("secret")));
		assert.equal((await files.write("of-nobody", at("mine"), text(""))).uid, NOBODY);
		assert.equal((await files.write("of-nobody", at("of-root"), text(""), { user: "0" })).uid, 0);
		assert.equal((await files.write(id, at("other"), text(""), { user: "1234:5678" })).gid, 5678);
		await fails("invalid_argument", /^user: .*nobody-knows/, files.stat(id, "/", { user: "nobody-knows" }));
	});

	test("an upload whose source fails leaves the old file, and the error is the source's", async () => {
		fs.writeFileSync(at("file"), "old");
		async function* failing() {
			yield Buffer.alloc(MIB);
			throw new RangeError("the client left");
		}
		await assert.rejects(files.write(id, at("file"), failing()), RangeError);
		assert.equal(fs.readFileSync(at("file"), "utf8"), "old");
	});

	test("a signal ends what is under way", async () => {
		const controller = new AbortController();
		const { signal } = controller;
		fs.writeFileSync(at("big"), Buffer.alloc(8 * MIB));
		const { data } = await files.read(id, at("big"), { signal });
		const watching = await files.watch(id, directory, { signal });
		const event = watching[Symbol.asyncIterator]().next();
		controller.abort();
		await fails("cancelled", /^watching .*: the caller gave up$/, event);
		await fails(
			"cancelled",
			/^reading /,
			(async () => {
				for await (const _ of data);
			})(),
		);
		await fails("cancelled", /^listing /, files.list(id, "/", { signal }));
		assert.equal(agent.children().length <= 2, true);
	});

	test("archives go out and in, and are counted", async () => {
		fs.mkdirSync(at("in/sub"), { recursive: true });
		fs.writeFileSync(at("in/sub/file"), "content");
		assert.deepEqual(await files.extract(id, at("out"), await files.archive(id, at("in"))), { entries: 2 });
		assert.equal(fs.readFileSync(at("out/sub/file"), "utf8"), "content");
	});

	test("a watch tells whole paths, and leaving it ends its worker", async () => {
		const watching = await files.watch(id, directory, { recursive: true });
		fs.mkdirSync(at("new"));
		for await (const event of watching) {
			assert.deepEqual(event, { type: "created", path: at("new"), isDirectory: true });
			break;
		}
		for (let i = 0; agent.children().length > 0; i++) {
			assert.ok(i < 100);
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	});
});
