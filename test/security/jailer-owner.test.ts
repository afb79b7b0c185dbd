/**
 * An attacker who has the socket of a jailer that serves an ordinary user reaches nothing that this user could not
 * reach: each attack is refused, and works on a jailer without an owner.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
	chmodSync,
	chownSync,
	copyFileSync,
	existsSync,
	linkSync,
	mkdirSync,
	rmSync,
	statSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Jailer, JailerExit } from "../../src/linux/jailer.ts";
import { type CloneNamespace, type Op, op, type Plan } from "../../src/linux/plan.ts";
import { missingIdMapping } from "../support/id-mapping.ts";
import { HOST_ID_BASE, JailerFixture, type PlanParts } from "../support/jailer-fixture.ts";
import { missingCommand, missingRoot } from "../support/requirements.ts";
import { TestCgroup } from "../support/test-cgroup.ts";

const UID = 54_321;

const skip = missingRoot() || missingCommand("mksquashfs") || (await missingIdMapping());

describe("a jailer that serves an ordinary user", { skip }, () => {
	let fixture: JailerFixture;
	let cgroup: TestCgroup;
	let bounded: Jailer;
	/** Of the user. */
	let owned: string;
	let images: string;
	before(async () => {
		fixture = await JailerFixture.open();
		cgroup = await TestCgroup.make(fixture.folder);
		chmodSync(fixture.folder, 0o755);
		owned = join(fixture.folder, "owned");
		images = join(fixture.folder, "images");
		for (const folder of [owned, images]) {
			mkdirSync(folder);
			chownSync(folder, UID, UID);
		}
		for (const id of ["000-base", "100-data"]) copyFileSync(fixture.imageHostPath(id), image(id));
		bounded = await fixture.startJailer({ ...boundedOptions(), layers: [] });
		await bounded.run(["000-base", "100-data"].map((id) => op.layerMount(id, image(id))));
	});
	after(async () => {
		await bounded?.close();
		cgroup?.remove();
		await fixture?.close();
	});

	function boundedOptions() {
		return {
			allow: [owned],
			cgroups: [cgroup.parentHostPath],
			owner: {
				uid: UID,
				gid: UID,
				ids: { first: HOST_ID_BASE, last: HOST_ID_BASE + 2 * 65_536 - 1 },
				images: [images],
			},
		};
	}

	function image(id: string): string {
		return join(images, `${id}.squashfs`);
	}

	/** A plan as the daemon makes it, whose socket is in the user's folder. */
	function plan(parts: PlanParts = {}, questions: readonly string[] = ["exit:0"]): Plan {
		const socket = op.listen(0, socketPath());
		return fixture
			.plan(questions, { ...cgroup.parts, ...parts })
			.map((step) => (step[0] === "listen" ? socket : step));
	}

	function socketPath(): string {
		return join(owned, "probe.sock");
	}

	async function refused(attack: Plan, ...errnoNames: readonly string[]): Promise<void> {
		await assert.rejects(bounded.run(attack), (error: { errnoName?: string }) => {
			assert.ok(errnoNames.includes(error.errnoName ?? ""), String(error));
			return true;
		});
	}

	/** On a jailer without an owner. */
	async function works(attack: Plan): Promise<void> {
		await toTheEnd(fixture.jailer, attack);
	}

	async function toTheEnd(jailer: Jailer, attack: Plan): Promise<void> {
		const { hostPid } = await jailer.run(attack);
		if (hostPid !== 0) await new Promise<JailerExit>((resolve) => jailer.onExit(hostPid, resolve));
		await fixture.jailer.run([op.cgroupRemove(cgroup.hostPath), op.fileRemove(socketPath())]);
	}

	it("starts the sandboxes of that user, whose sockets are the user's", async () => {
		const { hostPid } = await bounded.run(plan({}, ["wait"]));
		const { uid, gid, mode } = statSync(socketPath());
		assert.deepEqual([uid, gid, mode & 0o777], [UID, UID, 0o600]);
		await bounded.kill(hostPid, 9);
		await new Promise<JailerExit>((resolve) => bounded.onExit(hostPid, resolve));
		await bounded.run([op.cgroupRemove(cgroup.hostPath), op.fileRemove(socketPath())]);
	});

	it("no sandbox without its own namespaces: it would have root's rights on the host", async () => {
		const needed: readonly CloneNamespace[] = ["user", "mount", "pid", "net", "ipc", "uts", "cgroup"];
		for (const left of needed) {
			const attack = plan({ namespaces: needed.filter((name) => name !== left), root: [] });
			await refused(attack, left === "mount" ? "EINVAL" : "EPERM");
			if (left !== "mount") await works(attack);
		}
	});

	it("no host ids but its own", async () => {
		const swap = (base: number, count: number) =>
			plan().map((step): Op => (step[0] === "map_ids" ? op.mapIds(base, count) : step));
		for (const [base, count] of [
			[HOST_ID_BASE - 1, 2],
			[HOST_ID_BASE, 3 * 65_536],
			[HOST_ID_BASE + 2 * 65_536, 1],
			[65_536, 65_536],
		] as const) {
			await refused(swap(base, count), "EPERM");
			await works(swap(base, count));
		}
		await toTheEnd(bounded, swap(HOST_ID_BASE + 65_536, 65_536));
	});

	it("no sandbox outside of its cgroups, where nothing limits it", async () => {
		const { host: _, cgroup2: __, afterClone: ___, ...rest } = cgroup.parts;
		const attack = fixture
			.plan(["exit:0"], rest)
			.map((step) => (step[0] === "listen" ? op.listen(0, socketPath()) : step));
		await refused(attack, "EPERM");
		await works(attack);
	});

	it("no other cgroup is made, written, killed or removed", async () => {
		const other = join(dirname(cgroup.parentHostPath), "shale-jailer-owner-test");
		const around = join(cgroup.parentHostPath, "..", "shale-jailer-owner-test");
		for (const path of [other, around]) {
			await refused([op.cgroupCreate(path)], "EXDEV");
			await refused([op.cgroupEnsure(path)], "EXDEV");
			await works([op.cgroupCreate(path)]);
			await refused([op.cgroupKill(path)], "EXDEV");
			await refused([op.cgroupWrite(join(path, "cgroup.kill"), "1")], "EXDEV");
			await refused([op.cgroupRemove(path)], "EXDEV");
			await works([op.cgroupKill(path), op.cgroupRemove(path)]);
		}
		await refused(plan({ afterClone: [op.cgroupJoin("/sys/fs/cgroup/pids")] }), "EXDEV", "ENOENT");
	});

	it("no file or folder that the user could not make or remove", async () => {
		const roots = join(owned, "roots");
		mkdirSync(roots, { mode: 0o700 });
		writeFileSync(join(roots, "victim"), "");
		symlinkSync(fixture.folder, join(owned, "link"));
		await refused([op.fileRemove(join(roots, "victim"))], "EACCES");
		await refused([op.dirCreate(join(roots, "made"), 0o700)], "EACCES");
		await refused([op.listen(0, join(roots, "made.sock"))], "EACCES");
		await refused([op.dirCreate(join(owned, "link/made"), 0o700)], "ELOOP");
		await refused([op.dirCreate(join(fixture.folder, "made"), 0o700)], "EXDEV");
		await refused([op.dirCreate(join(fixture.runDir, "made"), 0o700)], "EACCES");
		assert.ok(existsSync(join(roots, "victim")));
		await works([op.fileRemove(join(roots, "victim")), op.dirCreate(join(roots, "made"), 0o700)]);
		await works([op.dirCreate(join(fixture.folder, "made"), 0o700)]);
		await bounded.run([op.dirCreate(join(owned, "mine"), 0o700)]);
		assert.equal(statSync(join(owned, "mine")).uid, UID);
	});

	it("no image that the user could not read, that others may write, or that lies elsewhere", async () => {
		const secret = image("200-secret");
		copyFileSync(image("100-data"), secret);
		chmodSync(secret, 0o600);
		await refused([op.layerMount("x", secret)], "EACCES");
		await works([op.layerMount("x", secret), op.layerUnmount("x")]);
		const outside = fixture.imageHostPath("100-data");
		await refused([op.layerMount("x", outside)], "EXDEV");
		await works([op.layerMount("x", outside), op.layerUnmount("x")]);
		symlinkSync(outside, image("201-link"));
		await refused([op.layerMount("x", image("201-link"))], "ELOOP");
		await refused([op.layerMount("x", `${images}/../100-data.squashfs`)], "EXDEV");
		await refused(plan({ upper: op.rootUpperDisk(outside) }), "EXDEV");
		linkSync(outside, image("202-root"));
		await refused(plan({ upper: op.rootUpperDisk(image("202-root")) }), "EACCES");
		chownSync(secret, UID, UID);
		await bounded.run([op.layerMount("x", secret), op.layerUnmount("x")]);
		chownSync(secret, UID + 1, 0);
		chmodSync(secret, 0o644);
		await refused([op.layerMount("x", secret)], "EPERM");
		chownSync(secret, UID, 0);
		chmodSync(secret, 0o664);
		await refused([op.layerMount("x", secret)], "EPERM");
	});

	it("no device by way of an image that the user has made", async () => {
		const empty = join(fixture.folder, "empty");
		mkdirSync(empty);
		const node = image("300-node");
		execFileSync("mksquashfs", [empty, node, "-quiet", "-no-progress", "-p", "node c 666 0 0 1 3"]);
		chownSync(node, UID, UID);
		const withFlags = (flags: readonly ("nosuid" | "nodev")[]) =>
			fixture
				.plan(["write:/node"], { ...cgroup.parts, layers: ["000-base", "300-node"] })
				.map((step): Op => (step[0] === "root_end" ? op.rootEnd(flags) : step));
		await bounded.run([op.layerMount("300-node", node)]);
		for (const flags of [[], ["nosuid"], ["nodev"]] as const) await refused(withFlags(flags), "EPERM");
		const write = async (flags: readonly ("nosuid" | "nodev")[]) => {
			const { hostPid } = await fixture.jailer.run(withFlags(flags));
			const exited = fixture.exit(hostPid);
			const answer = (await fixture.hear())["write:/node"];
			await exited;
			await fixture.jailer.run([op.cgroupRemove(cgroup.hostPath), op.fileRemove(fixture.socketHostPath)]);
			return answer;
		};
		chownSync(node, 0, 0);
		await fixture.jailer.run([op.layerMount("300-node", node)]);
		assert.equal(await write(["nosuid", "nodev"]), "EACCES");
		assert.equal(await write(["nosuid"]), "ok", "without the rule it is a device of the host");
		await fixture.jailer.run([op.layerUnmount("300-node")]);
	});

	it("does not start on folders that somebody else has put in the place of the user's", async () => {
		const { owner, ...options } = boundedOptions();
		const stolen = join(fixture.folder, "stolen");
		symlinkSync("/etc", stolen);
		for (const over of [
			{ allow: [stolen] },
			{ allow: ["/etc"] },
			{ owner: { ...owner, images: ["/etc"] } },
			{ runDir: owned },
		]) {
			await assert.rejects(fixture.startJailer({ ...options, owner, layers: [], ...over }), {
				code: "unavailable",
				message: /Operation not permitted/,
			});
		}
		rmSync(stolen);
	});
});
