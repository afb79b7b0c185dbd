/** What nobody owns is found, told and removed, and what somebody owns is not touched. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { GarbageReport, Resource } from "../../src/sandbox/inventory.ts";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

const skip = missingRoot() || missingLayers(...TEST_LAYERS);

/** The folders of this daemon in every mounted hierarchy. */
function cgroupParents(daemon: TestDaemon): string[] {
	const data = join(daemon.folder, "data");
	const name = join("shale", createHash("sha256").update(data).digest("hex").slice(0, 12));
	const roots = [
		"/sys/fs/cgroup",
		...readdirSync("/sys/fs/cgroup").map((root) => join("/sys/fs/cgroup", root)),
	];
	return roots.map((root) => join(root, name)).filter((hostPath) => existsSync(hostPath));
}

/** What a sandbox `sb-gone` could have left, and a layer's maker that died. */
function plantLeaks(daemon: TestDaemon): {
	readonly cgroups: readonly string[];
	readonly child: ChildProcess;
} {
	const { folder } = daemon;
	writeFileSync(join(folder, "run/sandboxes/sb-gone.sock"), "");
	writeFileSync(join(folder, "data/uppers/sb-gone.ext4"), "");
	mkdirSync(join(folder, "data/layers/.partial-4194304-1-aaaaaaaa"));
	const child = spawn("sleep", ["1000"], { stdio: "ignore" });
	const cgroups = cgroupParents(daemon).map((parent) => join(parent, "sb-gone"));
	for (const hostPath of cgroups) {
		mkdirSync(hostPath);
		writeFileSync(join(hostPath, "cgroup.procs"), String(child.pid));
	}
	return { cgroups, child };
}

async function collect(daemon: TestDaemon, body: { readonly dryRun?: boolean } = {}): Promise<GarbageReport> {
	const { status, json } = await daemon.request("POST", "/v1/gc", body);
	assert.equal(status, 200, JSON.stringify(json));
	return json as unknown as GarbageReport;
}

function kindsOf(resources: readonly Resource[]): string[] {
	return [...new Set(resources.map(({ kind }) => kind))].sort();
}

async function leakFigures(daemon: TestDaemon): Promise<Record<string, number>> {
	const text = await (await fetch(`${daemon.url}/metrics`)).text();
	const samples = text.matchAll(/^shale_leaked_resources\{kind="(\w+)"\} (\d+)$/gm);
	return Object.fromEntries([...samples].map(([, kind, value]) => [kind, Number(value)]));
}

describe("inventory", { skip }, () => {
	let daemon: TestDaemon;
	before(async () => {
		daemon = await startTestDaemon();
	});
	after(() => daemon?.stop());

	it("is empty while sandboxes live, of either upper, and after they are gone", async () => {
		await daemon.create({ id: "in-memory" });
		await daemon.create({ id: "on-disk", upper: "disk", limits: { diskMiB: 64 } });
		assert.deepEqual(await collect(daemon, { dryRun: true }), { dryRun: true, removed: [], left: [] });
		const figures = await leakFigures(daemon);
		assert.ok(Object.keys(figures).length >= 7);
		assert.ok(Object.values(figures).every((value) => value === 0));
		for (const id of ["in-memory", "on-disk"]) await daemon.request("DELETE", `/v1/sandboxes/${id}`);
		assert.deepEqual((await collect(daemon)).removed, []);
	});

	it("finds what a sandbox left, tells it, and removes it, and no living one is touched", async (t) => {
		await daemon.create({ id: "alive", upper: "disk", limits: { diskMiB: 64 } });
		await daemon.exec("alive", ["sh", "-c", "echo kept > /kept"]);
		const events = await fetch(`${daemon.url}/v1/events?type=host.leak`);
		const { cgroups, child } = plantLeaks(daemon);
		t.after(() => child.kill("SIGKILL"));
		assert.ok(cgroups.length > 0);
		const { removed: found } = await collect(daemon, { dryRun: true });
		assert.deepEqual(kindsOf(found), ["cgroup", "file", "process", "socket"]);
		const partial = found.find(({ sandboxId }) => sandboxId === null);
		assert.match(partial?.name ?? "", /\/layers\/\.partial-4194304-1-aaaaaaaa$/);
		assert.ok(found.every(({ sandboxId }) => sandboxId === null || sandboxId === "sb-gone"));
		assert.equal(child.exitCode ?? child.signalCode, null);

		const { value } = await (events.body?.getReader().read() ?? assert.fail("no events"));
		assert.match(Buffer.from(value ?? []).toString(), /^id: .*\nevent: host\.leak\ndata: \{.*"kind":/);

		const { removed, left } = await collect(daemon);
		assert.deepEqual([removed, left], [found, []]);
		assert.deepEqual((await collect(daemon, { dryRun: true })).removed, []);
		assert.ok(cgroups.every((hostPath) => !existsSync(hostPath)));
		assert.equal((await leakFigures(daemon)).cgroup, 0);
		assert.equal((await daemon.exec("alive", ["cat", "/kept"])).stdout, "kept\n");
		await daemon.request("DELETE", "/v1/sandboxes/alive");
	});

	it("says what it could not remove", async (t) => {
		const hostPath = join(daemon.folder, "run/foreign");
		mkdirSync(hostPath);
		execFileSync("mount", ["-t", "tmpfs", "none", hostPath]);
		t.after(() => {
			execFileSync("umount", [hostPath]);
			rmdirSync(hostPath);
		});
		const { removed, left } = await collect(daemon);
		assert.deepEqual([removed, left], [[], [{ kind: "mount", name: hostPath, sandboxId: null }]]);
	});

	it("touches nothing that is being created or destroyed while it is collected", async () => {
		let isOver = false;
		const collecting = (async () => {
			const seen: Resource[] = [];
			while (!isOver) {
				const { removed, left } = await collect(daemon);
				seen.push(...removed, ...left);
				// Without a leak a collection ends at its first look; this one makes it go all the way.
				writeFileSync(join(daemon.folder, "run/sandboxes/sb-gone.sock"), "");
			}
			return seen;
		})();
		const cycle = async (upper: string) => {
			const id = await daemon.create({ upper, limits: { diskMiB: 64 } });
			assert.equal((await daemon.exec(id, ["echo", "well"])).stdout, "well\n");
			assert.equal((await daemon.request("DELETE", `/v1/sandboxes/${id}`)).status, 204);
		};
		const worker = async (upper: string) => {
			for (let n = 0; n < 15; n++) await cycle(upper);
		};
		await Promise.all([worker("tmpfs"), worker("disk")]);
		isOver = true;
		const wrong = (await collecting).filter(({ sandboxId }) => sandboxId !== "sb-gone");
		assert.deepEqual(wrong, []);
		await collect(daemon);
	});
});
