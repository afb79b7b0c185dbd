import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { until } from "../../test/support/until.ts";
import { ShaleError } from "../lib/errors.ts";
import type { Op } from "../linux/plan.ts";
import { LayerMounts } from "./mounts.ts";

const DIGESTS: Record<string, string> = {
	"000-a": `sha256:${"a".repeat(64)}`,
	"100-b": `sha256:${"b".repeat(64)}`,
};
const A = `000-a.${"a".repeat(32)}`;
const B = `100-b.${"b".repeat(32)}`;

const store = {
	hostPath: (name: string) => `/store/${name}.squashfs`,
	verify: async (name: string) => {
		const digest = DIGESTS[name];
		if (digest === undefined) throw new ShaleError("layer_damaged", name);
		return { name, digest, sizeBytes: 1, createdAt: "2026-01-01T00:00:00Z", sources: [] };
	},
};

function createMounts({ lingerMs = 0, failing = "" } = {}) {
	const done: string[] = [];
	const run = async (ops: Op[]) => {
		await turn();
		for (const words of ops) {
			if (words.includes(failing)) throw new Error(`no ${failing}`);
			done.push(words.join(" "));
		}
	};
	return { done, mounts: new LayerMounts(run, { store, lingerMs }) };
}

test("concurrent first users of a layer share one mount", async () => {
	const { done, mounts } = createMounts();
	const [one, two] = await Promise.all([mounts.acquire(["000-a", "100-b"]), mounts.acquire(["000-a"])]);
	assert.deepEqual(done, [
		`layer_mount ${A} /store/000-a.squashfs`,
		`layer_mount ${B} /store/100-b.squashfs`,
	]);
	assert.deepEqual(one.mountIds, [A, B]);
	assert.deepEqual(two.mountIds, [A]);
	assert.equal(mounts.isUsed("000-a"), true);
	one.release();
	two.release();
	assert.equal(mounts.isUsed("000-a"), false);
});

test("a layer is unmounted only after its last user is gone, and a lease counts once", async () => {
	const { done, mounts } = createMounts();
	const [one, two] = [await mounts.acquire(["000-a"]), await mounts.acquire(["000-a"])];
	one.release();
	one.release();
	await sleep(5);
	assert.equal(done.length, 1);
	two.release();
	await until(() => done.length > 1);
	assert.deepEqual(done.slice(1), [`layer_unmount ${A}`]);
});

test("a layer that is used again while it lingers stays mounted", async () => {
	const { done, mounts } = createMounts({ lingerMs: 20 });
	(await mounts.acquire(["000-a"])).release();
	const lease = await mounts.acquire(["000-a"]);
	await sleep(30);
	assert.equal(done.length, 1);
	lease.release();
	await mounts.close();
	assert.deepEqual(done.slice(1), [`layer_unmount ${A}`]);
});

test("after the jailer's death layers are mounted again, and leases of before count as uses but unmount nothing", async () => {
	const { done, mounts } = createMounts();
	const old = await mounts.acquire(["000-a"]);
	(await mounts.acquire(["100-b"])).release();
	mounts.forgetAll();
	assert.equal(mounts.isUsed("000-a"), true, "its sandbox lives on");
	assert.equal(mounts.isMounted("000-a"), false);
	const renewed = await mounts.acquire(["000-a"]);
	old.release();
	await sleep(5);
	assert.deepEqual(done.slice(2), [`layer_mount ${A} /store/000-a.squashfs`]);
	assert.equal(mounts.isUsed("000-a"), true);
	renewed.release();
	await until(() => done.length > 3);
	assert.deepEqual(done.slice(3), [`layer_unmount ${A}`]);
});

test("a layer that is only held counts as used and is not mounted", () => {
	const { done, mounts } = createMounts();
	const lease = mounts.hold(["000-a"]);
	assert.equal(mounts.isUsed("000-a"), true);
	lease.release();
	lease.release();
	assert.equal(mounts.isUsed("000-a"), false);
	assert.deepEqual(done, []);
});

test("when one layer cannot be mounted, the others are given back and the next try mounts again", async () => {
	const { done, mounts } = createMounts({ failing: B });
	await assert.rejects(mounts.acquire(["000-a", "100-b"]), /no 100-b/);
	assert.equal(mounts.isUsed("000-a"), false);
	await assert.rejects(mounts.acquire(["100-b"]), /no 100-b/);
	await until(() => done.length >= 2);
	assert.deepEqual(done, [`layer_mount ${A} /store/000-a.squashfs`, `layer_unmount ${A}`]);
});

test("a damaged layer is never mounted, nor is any other of its stack", async () => {
	const { done, mounts } = createMounts();
	await assert.rejects(mounts.acquire(["000-a", "100-damaged"]), { code: "layer_damaged" });
	assert.deepEqual(done, []);
});
