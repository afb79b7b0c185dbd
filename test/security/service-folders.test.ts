/** What root hands over to the daemon's user must not be somebody else's, whatever that user has put there. */
import assert from "node:assert/strict";
import {
	chmodSync,
	chownSync,
	linkSync,
	mkdirSync,
	mkdtempSync,
	rmSync,
	statSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { makeFolders } from "../../src/daemon/folders.ts";
import { missingRoot } from "../support/requirements.ts";

const USER = { uid: 54_321, gid: 54_322 };

describe("the folders of a daemon that becomes an ordinary user", { skip: missingRoot() }, () => {
	let folder: string;
	let config: { readonly data: string; readonly run: string };
	beforeEach(() => {
		folder = mkdtempSync(join(tmpdir(), "shale-folders-"));
		config = { data: join(folder, "data"), run: join(folder, "run") };
	});
	afterEach(() => rmSync(folder, { recursive: true }));

	const owner = (path: string) => statSync(join(folder, path)).uid;

	it("are handed over with the files of a root's daemon, and the jailer's stay root's", async () => {
		await makeFolders(config, undefined);
		for (const file of ["shale.db", "uppers/a.ext4", "layers/000-base.squashfs"]) {
			writeFileSync(join(config.data, file), "");
		}
		await makeFolders(config, USER);
		for (const path of ["data", "data/uppers", "data/layers", "data/shale.db", "data/uppers/a.ext4"]) {
			assert.equal(owner(path), USER.uid, path);
		}
		for (const path of ["data/layers/000-base.squashfs", "run", "run/jailer"])
			assert.equal(owner(path), 0, path);
		assert.equal(owner("run/sandboxes"), USER.uid);
		await makeFolders(config, USER);
	});

	it("in a folder that was the user's before, root changes nothing", async () => {
		await makeFolders(config, USER);
		const victim = join(folder, "victim");
		writeFileSync(victim, "");
		linkSync(victim, join(config.data, "planted"));
		symlinkSync(victim, join(config.data, "uppers", "planted.ext4"));
		await makeFolders(config, USER);
		assert.equal(owner("victim"), 0);
	});

	it("files that have another name elsewhere, and links, are not handed over", async () => {
		await makeFolders(config, undefined);
		const victim = join(folder, "victim");
		writeFileSync(victim, "");
		linkSync(victim, join(config.data, "uppers", "hard.ext4"));
		symlinkSync(victim, join(config.data, "uppers", "soft.ext4"));
		await makeFolders(config, USER);
		assert.equal(owner("victim"), 0);
	});

	it("a folder of somebody else's, or a link in its place, is refused", async () => {
		mkdirSync(config.data);
		chownSync(config.data, USER.uid, USER.gid);
		symlinkSync("/etc", join(config.data, "uppers"));
		await assert.rejects(makeFolders(config, USER), {
			code: "invalid_argument",
			message: /uppers cannot become/,
		});
		assert.equal(statSync("/etc").uid, 0);
		rmSync(join(config.data, "uppers"));
		mkdirSync(join(config.data, "uppers"));
		chownSync(join(config.data, "uppers"), USER.uid + 1, 0);
		await assert.rejects(makeFolders(config, USER), { code: "invalid_argument" });
		chownSync(join(config.data, "uppers"), 0, 0);
		chmodSync(join(config.data, "uppers"), 0o777);
		await assert.rejects(makeFolders(config, USER), { code: "invalid_argument" });
	});
});
