/** Files of a real sandbox: what its layers, its user ids, its limits and its seccomp profile do to them. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

const MIB = 2 ** 20;

describe("files of a sandbox", { skip: missingRoot() || missingLayers(...TEST_LAYERS) }, () => {
	let daemon: TestDaemon;
	let id: string;
	before(async () => {
		daemon = await startTestDaemon();
		id = await daemon.create({ limits: { diskMiB: 128, processes: 64, memoryMiB: 512 } });
	});
	after(async () => {
		await daemon.request("DELETE", `/v1/sandboxes/${id}`);
		await daemon.stop();
	});

	const toUrl = (kind: string, query: Record<string, string>) =>
		`${daemon.url}/v1/sandboxes/${id}/files${kind}?${new URLSearchParams(query)}`;
	const put = async (path: string, body: Uint8Array | string, query: Record<string, string> = {}) => {
		const bytes = typeof body === "string" ? Buffer.from(body) : body;
		const url = toUrl("/content", { path, ...query });
		const response = await fetch(url, {
			method: "PUT",
			body: new Uint8Array(bytes),
			headers: { "content-type": "application/octet-stream" },
		});
		return { status: response.status, json: (await response.json()) as Record<string, unknown> };
	};
	const get = async (path: string) => {
		const response = await fetch(toUrl("/content", { path }));
		return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
	};
	const sh = async (script: string) => String((await daemon.exec(id, ["sh", "-c", script])).stdout);

	it("a file goes in, is seen by programs, and comes out", async () => {
		const content = randomBytes(20 * MIB);
		const { status, json } = await put("/srv/deep/file", content, { parents: "true", mode: "0750" });
		assert.ok(status === 200 || status === 201, JSON.stringify(json));
		const sum = createHash("sha256").update(content).digest("hex");
		assert.equal(
			await sh("sha256sum < /srv/deep/file; stat -c '%a %u:%g' /srv/deep/file"),
			`${sum}  -\n750 0:0\n`,
		);
		assert.ok((await get("/srv/deep/file")).body.equals(content));
		await daemon.exec(id, ["rm", "-r", "/srv/deep"]);
	});

	it("a file of a layer is replaced in the sandbox, with its mode, and only there", async () => {
		const before = await sh("stat -c '%a %u:%g' /etc/hostname /etc/passwd");
		assert.ok(
			(await put("/etc/passwd", `${await sh("cat /etc/passwd")}me:x:4321:4321::/:/bin/sh\n`)).status < 300,
		);
		assert.equal(await sh("stat -c '%a %u:%g' /etc/hostname /etc/passwd"), before);
		assert.equal(await sh("id -u me"), "4321\n");
		const other = await daemon.create();
		assert.equal((await daemon.exec(other, ["id", "-u", "me"])).exitCode, 1);
		await daemon.request("DELETE", `/v1/sandboxes/${other}`);
	});

	it("a user of the sandbox's own /etc/passwd has its rights", async () => {
		assert.equal((await put("/root/x", "x", { user: "nobody" })).status, 403);
		assert.ok((await put("/tmp/of-nobody", "x", { user: "nobody" })).status < 300);
		assert.equal(await sh("stat -c %U /tmp/of-nobody"), "nobody\n");
	});

	it("no path leads out of the sandbox", async () => {
		const hostPath = daemon.folder;
		for (const path of [hostPath, `/proc/self/root${hostPath}`])
			assert.equal((await get(path)).status, 404, path);
		assert.equal((await get(`/proc/1/root${hostPath}`)).status, 403);
		await sh(`ln -s / /tmp/up; ln -s ../../../../../../.. /tmp/updown`);
		assert.equal((await get(`/tmp/up${hostPath}`)).status, 404);
		assert.equal((await get(`/tmp/updown${hostPath}`)).status, 404);
		assert.ok((await put(`/tmp/up${hostPath}/planted`, "x", { parents: "true" })).status < 300);
		assert.equal(existsSync(`${hostPath}/planted`), false);
		assert.equal(await sh(`cat ${hostPath}/planted`), "x");
	});

	it("a full disk is told, and the old file stays", async () => {
		await put("/var/full", "old");
		assert.equal((await put("/var/full", Buffer.alloc(200 * MIB))).status, 429);
		assert.equal((await get("/var/full")).body.toString(), "old");
		assert.equal(await sh("ls -A /var | grep -c '^.shale'"), "0\n");
	});

	it("a sandbox without room for another process says so, and recovers", async () => {
		const fill = `
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(60)
    except OSError:
        time.sleep(0.01)`;
		const body = { argv: ["python3", "-c", fill] };
		const { json } = await daemon.request("POST", `/v1/sandboxes/${id}/processes`, body);
		let status = 200;
		for (let i = 0; i < 200 && status === 200; i++) status = (await get("/etc/hostname")).status;
		assert.equal(status, 429);
		await daemon.request("POST", `/v1/sandboxes/${id}/processes/${json.id}/signal`, {
			signal: "SIGKILL",
			group: true,
		});
		for (let i = 0; i < 200 && status !== 200; i++) {
			status = (await get("/etc/hostname")).status;
			await new Promise((resolve) => setTimeout(resolve, 10));
		}
		assert.equal(status, 200);
	});

	it("an archive with ids that the sandbox does not have, and with a device, is met as a sandbox can", async () => {
		const tar = (script: string) => {
			const cwd = mkdtempSync(join(tmpdir(), "shale-tar-"));
			const bytes = execFileSync("sh", ["-c", script], { cwd });
			rmSync(cwd, { recursive: true });
			return bytes;
		};
		const extract = async (bytes: Buffer) => {
			const response = await fetch(toUrl("/archive", { path: "/opt/in" }), {
				method: "PUT",
				body: new Uint8Array(bytes),
				headers: { "content-type": "application/x-tar" },
			});
			return { status: response.status, json: (await response.json()) as Record<string, unknown> };
		};
		const owned = await extract(tar("touch a && tar --owner=200000 --group=7 -cf - a"));
		assert.ok(owned.status < 300, JSON.stringify(owned.json));
		assert.equal(await sh("stat -c %u:%g /opt/in/a"), "0:0\n");
		const device = await extract(tar("mknod d c 1 1 && tar -cf - d"));
		assert.equal(device.status, 403);
		assert.match(String(device.json.message), /^extracting into \/opt\/in .*\(d\)$/);
		const response = await fetch(toUrl("/archive", { path: "/etc" }));
		const listed = execFileSync("tar", ["-tf", "-"], { input: Buffer.from(await response.arrayBuffer()) });
		assert.match(listed.toString(), /^passwd$/m);
	});
});
