/** Layers are built for real, from small folders and a server on loopback: squashfs-tools, tar and overlayfs. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
	chmod,
	cp,
	mkdir,
	mkdtemp,
	open,
	readdir,
	readFile,
	rm,
	symlink,
	truncate,
	writeFile,
} from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { buildLayer } from "../../src/layers/build.ts";
import { tidyDebianTree } from "../../src/layers/kinds/debian-tidy.ts";
import { readRecipe } from "../../src/layers/recipe.ts";
import { runProgram } from "../../src/layers/run-program.ts";
import { makeSquashfs } from "../../src/layers/squashfs.ts";
import { openLayerStore } from "../../src/layers/store.ts";
import { missingCommand, missingRoot } from "../support/requirements.ts";

const run = promisify(execFile);

const skip = missingRoot() || missingCommand("mksquashfs") || missingCommand("unsquashfs");

async function makeFolder(context: TestContext): Promise<string> {
	const hostFolder = await mkdtemp(join(tmpdir(), "shale-layers-"));
	context.after(() => rm(hostFolder, { recursive: true, force: true }));
	return hostFolder;
}

/** A store, and a recipe beside it that makes a layer from a folder with some of everything. */
async function prepare(context: TestContext) {
	const hostFolder = await makeFolder(context);
	const store = await openLayerStore(join(hostFolder, "layers"));
	const files = join(hostFolder, "files");
	await mkdir(join(files, "bin"), { recursive: true });
	await writeFile(join(files, "bin/hello"), "#!/bin/sh\necho hello\n");
	await chmod(join(files, "bin/hello"), 0o755);
	await symlink("hello", join(files, "bin/hi"));
	for (let n = 0; n < 50; n++) await writeFile(join(files, `file-${n}`), `${n}`.repeat(n * 100));
	const recipe = join(hostFolder, "100-mine.toml");
	await writeFile(recipe, 'kind = "folder"\nfolder = "files"\nto = "/opt/mine"\n');
	return { hostFolder, store, files, recipe: await readRecipe(recipe) };
}

async function writeRecipe(hostPath: string, fields: Record<string, string | number>) {
	await writeFile(
		hostPath,
		Object.entries(fields)
			.map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
			.join(""),
	);
	return readRecipe(hostPath);
}

async function listImage(hostPath: string): Promise<string[]> {
	const { stdout } = await run("unsquashfs", ["-lls", hostPath]);
	return stdout
		.trim()
		.split("\n")
		.map((line) => line.replace(/\s+/g, " "));
}

async function serve(context: TestContext, content: Buffer | "silence") {
	const server = createServer((request, response) => {
		if (request.url === "/missing") response.writeHead(404).end();
		else if (request.url === "/dead") request.socket.destroy();
		else if (content === "silence") response.writeHead(200).write("x");
		else response.end(content);
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	context.after(() => {
		server.closeAllConnections();
		server.close();
	});
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Living processes with this command line; of dead ones that nobody reaped yet it is empty, proc(5). */
async function findProcesses(argv: string): Promise<string[]> {
	const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
	const lines = await Promise.all(
		pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")),
	);
	return pids.filter((_, index) => lines[index] === argv);
}

describe("building layers", { skip }, () => {
	test("the same folder gives the same digest, whenever it was checked out and whoever owns it", async (context) => {
		const { hostFolder, store, files, recipe } = await prepare(context);
		const steps = new Set<string>();
		const first = await buildLayer(recipe, { store, onProgress: ({ step }) => steps.add(step) });
		assert.deepEqual([...steps], ["copy", "compress", "publish"]);
		await cp(files, `${files}-copy`, { recursive: true, verbatimSymlinks: true });
		await rm(files, { recursive: true });
		await cp(`${files}-copy`, files, { recursive: true, verbatimSymlinks: true });
		await run("chown", ["-hR", "1234:1234", files]);
		const second = await buildLayer(recipe, { store, replace: true });
		assert.equal(second.digest, first.digest);
		assert.deepEqual(await store.verify("100-mine"), second);
		const image = await listImage(store.hostPath("100-mine"));
		assert.ok(
			image.some((line) => /^-rwxr-xr-x root\/root 21 2000-01-01 .*opt\/mine\/bin\/hello$/.test(line)),
		);
		assert.deepEqual((await readdir(join(hostFolder, "layers"))).sort(), [
			"100-mine.json",
			"100-mine.squashfs",
		]);
	});

	test("a cancelled build leaves nothing, at whichever step it is cancelled", async (context) => {
		const { store, recipe } = await prepare(context);
		for (const step of ["copy", "compress", "publish"]) {
			const abort = new AbortController();
			const building = buildLayer(recipe, {
				store,
				signal: abort.signal,
				onProgress: (progress) => {
					if (progress.step === step) abort.abort();
				},
			});
			await assert.rejects(building, { code: "cancelled" }, step);
			assert.deepEqual(await readdir(store.hostFolder), []);
			assert.deepEqual(await store.list(), []);
		}
	});

	test("a second build of a layer is a conflict, while the first runs and after it", async (context) => {
		const { store, recipe } = await prepare(context);
		const first = buildLayer(recipe, { store });
		await assert.rejects(buildLayer(recipe, { store }), { code: "conflict" });
		await first;
		await assert.rejects(buildLayer(recipe, { store }), { code: "conflict" });
	});

	test("a folder that does not exist is an error that names the recipe", async (context) => {
		const { store, files, recipe } = await prepare(context);
		await rm(files, { recursive: true });
		await assert.rejects(buildLayer(recipe, { store }), /100-mine\.toml: folder: .*files is no folder/);
	});

	test("damage and truncation of a built layer are found", async (context) => {
		const { store, recipe } = await prepare(context);
		const { sizeBytes } = await buildLayer(recipe, { store });
		const file = await open(store.hostPath("100-mine"), "r+");
		await file.write(Buffer.from("?"), 0, 1, 200);
		await file.close();
		await assert.rejects(store.verify("100-mine"), { code: "layer_damaged" });
		await truncate(store.hostPath("100-mine"), sizeBytes - 1);
		await assert.rejects(store.verify("100-mine"), { code: "layer_damaged" });
	});

	test("a whiteout hides what is below it, whatever is in its name", async (context) => {
		const hostFolder = await makeFolder(context);
		const names = ["plain", "with space", 'quote"d', "back\\slash", "ünï"];
		await mkdir(join(hostFolder, "lower/dir"), { recursive: true });
		for (const name of [...names, "kept"]) await writeFile(join(hostFolder, "lower/dir", name), name);
		await mkdir(join(hostFolder, "upper/dir"), { recursive: true });
		const image = join(hostFolder, "image");
		await makeSquashfs(join(hostFolder, "upper"), image, { whiteouts: names.map((name) => `dir/${name}`) });
		await mkdir(join(hostFolder, "mnt"));
		await mkdir(join(hostFolder, "merged"));
		const script =
			'mount -t squashfs -o loop,ro "$1/image" "$1/mnt" && ' +
			'mount -t overlay -o "lowerdir=$1/mnt:$1/lower" none "$1/merged" && ls "$1/merged/dir"';
		const { stdout } = await run("unshare", ["--mount", "sh", "-c", script, "sh", hostFolder]);
		assert.equal(stdout, "kept\n");
	});
});

describe("a Debian tree that is tidied", { skip }, () => {
	test("holds no trace of the host, gets the sandbox's user, and is never written through a link", async (context) => {
		const hostFolder = await makeFolder(context);
		const tree = join(hostFolder, "tree");
		const outside = join(hostFolder, "outside");
		await writeFile(outside, "of the host");
		for (const folder of ["etc/apt/sources.list.d", "etc/skel", "tmp", "home"]) {
			await mkdir(join(tree, folder), { recursive: true });
		}
		await symlink(outside, join(tree, "etc/resolv.conf"));
		await writeFile(
			join(tree, "etc/apt/sources.list.d/mirror.list"),
			"deb http://login:secret@mirror.example/ x main",
		);
		await writeFile(join(tree, "etc/hostname"), "host\n");
		await writeFile(join(tree, "etc/shadow"), "root:*:20778:0:99999:7:::\n");
		for (const name of ["passwd", "group", "gshadow"]) await writeFile(join(tree, "etc", name), "");
		await tidyDebianTree(tree);
		assert.equal(await readFile(outside, "utf8"), "of the host");
		assert.equal(await readFile(join(tree, "etc/resolv.conf"), "utf8"), "");
		assert.equal(await readFile(join(tree, "etc/hostname"), "utf8"), "sandbox\n");
		assert.deepEqual(await readdir(join(tree, "etc/apt/sources.list.d")), []);
		const shadow = await readFile(join(tree, "etc/shadow"), "utf8");
		assert.equal(shadow, "root:*::0:99999:7:::\nsandbox:*::0:99999:7:::\n");
		assert.match(await readFile(join(tree, "etc/passwd"), "utf8"), /^sandbox:x:1000:1000:/);
	});
});

describe("programs that mount", { skip }, () => {
	test("a cancelled one leaves neither its mounts nor a process that left its group", async (context) => {
		const hostFolder = await makeFolder(context);
		const abort = new AbortController();
		const script =
			'mount -t tmpfs none "$1" && { setsid sh -c "echo ready >&2; exec sleep 98.7654" & } && sleep 98.7654';
		const running = runProgram("sh", ["-c", script, "sh", hostFolder], {
			signal: abort.signal,
			isIsolated: true,
			onLine: (line) => line === "ready" && abort.abort(),
		});
		await assert.rejects(running, { code: "cancelled", message: "sh was cancelled" });
		assert.doesNotMatch(await readFile("/proc/self/mountinfo", "utf8"), new RegExp(hostFolder));
		assert.deepEqual(await findProcesses(["sleep", "98.7654", ""].join("\0")), []);
	});

	test("one that is not installed says how to install it", async () => {
		const running = runProgram("shale-no-such-program", [], { isIsolated: true });
		await assert.rejects(running, {
			code: "unsupported",
			hint: "On Debian: apt-get install shale-no-such-program",
		});
	});
});

describe("building layers from a URL", { skip }, () => {
	/** A tar with the folder `mine-1.0`, and its SHA-256. A build would take files of this second for its own. */
	async function makeTar(hostFolder: string, files: string) {
		await run("cp", ["-a", files, join(hostFolder, "mine-1.0")]);
		const tarPath = join(hostFolder, "mine.tar.gz");
		await run("tar", ["-C", hostFolder, "--mtime=2020-01-01", "-czf", tarPath, "mine-1.0"]);
		const content = await readFile(tarPath);
		return { content, sha256: createHash("sha256").update(content).digest("hex") };
	}

	test("a tar is unpacked where the recipe says, from http and from a file alike", async (context) => {
		const { hostFolder, store, files } = await prepare(context);
		const { content, sha256 } = await makeTar(hostFolder, files);
		const fields = { kind: "url", sha256, format: "tar", to: "/opt/mine", strip: 1 };
		const url = `${await serve(context, content)}/mine.tar.gz?signature=1`;
		const recipePath = join(hostFolder, "110-tar.toml");
		const fromHttp = await buildLayer(await writeRecipe(recipePath, { ...fields, url }), { store });
		const source = fromHttp.sources.find(({ kind }) => kind === "url");
		assert.deepEqual(source, { kind: "url", url: url.replace("?signature=1", ""), sha256 });
		const image = await listImage(store.hostPath("110-tar"));
		assert.ok(image.some((line) => line.includes("squashfs-root/opt/mine/bin/hello")));
		const fileUrl = `file://${hostFolder}/mine.tar.gz`;
		const recipe = await writeRecipe(recipePath, { ...fields, url: fileUrl });
		assert.equal((await buildLayer(recipe, { store, replace: true })).digest, fromHttp.digest);
	});

	test("a squashfs image is taken as it is", async (context) => {
		const { hostFolder, store, recipe: other } = await prepare(context);
		const { digest } = await buildLayer(other, { store });
		const content = await readFile(store.hostPath("100-mine"));
		const url = `${await serve(context, content)}/x`;
		const fields = { kind: "url", url, sha256: digest.slice(7), format: "squashfs" };
		const recipe = await writeRecipe(join(hostFolder, "110-image.toml"), fields);
		assert.equal((await buildLayer(recipe, { store })).digest, digest);
	});

	test("a wrong checksum, a missing file and a dead server are errors that leave nothing", async (context) => {
		const { hostFolder, store } = await prepare(context);
		const url = await serve(context, Buffer.from("something else"));
		const recipePath = join(hostFolder, "110-wrong.toml");
		const fields = { kind: "url", sha256: "0".repeat(64), format: "tar" };
		for (const [address, message, code] of [
			[`${url}/x`, /not what the recipe expects: its SHA-256 is [0-9a-f]{64}/, "layer_damaged"],
			[`${url}/missing`, /answered 404/, "unavailable"],
			[`${url}/dead`, /could not be read: other side closed/, "unavailable"],
			["file:///nonexistent/x", /could not be read: .*ENOENT/, "unavailable"],
		] as const) {
			const recipe = await writeRecipe(recipePath, { ...fields, url: address });
			await assert.rejects(buildLayer(recipe, { store }), { code, message });
		}
		assert.deepEqual(await readdir(store.hostFolder), []);
	});

	test("a download that stalls can be cancelled", async (context) => {
		const { hostFolder, store } = await prepare(context);
		const url = await serve(context, "silence");
		const fields = { kind: "url", url, sha256: "0".repeat(64), format: "tar" };
		const recipe = await writeRecipe(join(hostFolder, "110-slow.toml"), fields);
		const abort = new AbortController();
		const building = buildLayer(recipe, {
			store,
			signal: abort.signal,
			onProgress: ({ step }) => {
				if (step === "download") setTimeout(() => abort.abort(), 50);
			},
		});
		await assert.rejects(building, { code: "cancelled" });
		assert.deepEqual(await readdir(store.hostFolder), []);
	});
});
