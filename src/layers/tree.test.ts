import assert from "node:assert/strict";
import { chmod, lstat, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { keepDifference, makeFolders, walkTree } from "./tree.ts";

/** `a/b`: content of a file; `a/b/`: a folder; `a@`: a link to what the value says. */
async function makeTree(context: TestContext, entries: Record<string, string>): Promise<string> {
	const hostFolder = await mkdtemp(join(tmpdir(), "shale-tree-"));
	context.after(() => rm(hostFolder, { recursive: true }));
	for (const [name, value] of Object.entries(entries)) {
		const hostPath = join(hostFolder, name.replace(/[@/]$/, ""));
		await mkdir(name.endsWith("/") ? hostPath : dirname(hostPath), { recursive: true });
		if (name.endsWith("@")) await symlink(value, hostPath);
		else if (!name.endsWith("/")) await writeFile(hostPath, value);
	}
	return hostFolder;
}

async function listTree(hostFolder: string): Promise<string[]> {
	const paths: string[] = [];
	await walkTree(hostFolder, async (path, kind) => paths.push(kind === "folder" ? `${path}/` : path));
	return paths;
}

test("what is the same in the base goes, what is new or changed stays", async (context) => {
	const base = await makeTree(context, {
		"etc/passwd": "root",
		"etc/same": "1",
		"usr/lib/a.so": "old",
		"usr/link@": "a",
		"usr/kept@": "k",
		"var/empty/": "",
	});
	const tree = await makeTree(context, {
		"etc/passwd": "root, too",
		"etc/same": "1",
		"usr/lib/a.so": "new",
		"usr/lib/python/x.py": "x",
		"usr/link@": "b",
		"usr/kept@": "k",
		"var/empty/": "",
		"var/new/": "",
	});
	assert.deepEqual(await keepDifference(tree, base), []);
	assert.deepEqual(await listTree(tree), [
		"etc/",
		"etc/passwd",
		"usr/",
		"usr/lib/",
		"usr/lib/a.so",
		"usr/lib/python/",
		"usr/lib/python/x.py",
		"usr/link",
		"var/",
		"var/new/",
	]);
});

test("what the base has and the tree has not needs whiteouts, and the folders for them stay", async (context) => {
	const base = await makeTree(context, { "a/one": "1", "a/b/two": "2", "gone/x": "x", "gone/y/z": "z" });
	const tree = await makeTree(context, { "a/b/": "" });
	assert.deepEqual(await keepDifference(tree, base), ["a/b/two", "a/one", "gone"]);
	assert.deepEqual(await listTree(tree), ["a/", "a/b/"]);
});

test("a file or folder whose mode changed stays", async (context) => {
	const base = await makeTree(context, { "bin/su": "su", "tmp/": "" });
	const tree = await makeTree(context, { "bin/su": "su", "tmp/": "" });
	await chmod(join(tree, "bin/su"), 0o4755);
	await chmod(join(tree, "tmp"), 0o1777);
	assert.deepEqual(await keepDifference(tree, base), []);
	assert.deepEqual(await listTree(tree), ["bin/", "bin/su", "tmp/"]);
});

test("made folders are open to all whatever the umask", async (context) => {
	const tree = await makeTree(context, {});
	const before = process.umask(0o077);
	try {
		assert.equal(await makeFolders(tree, "/usr/./local//bin"), join(tree, "usr/local/bin"));
	} finally {
		process.umask(before);
	}
	for (const path of ["usr", "usr/local", "usr/local/bin"]) {
		assert.equal((await lstat(join(tree, path))).mode & 0o777, 0o755);
	}
});
