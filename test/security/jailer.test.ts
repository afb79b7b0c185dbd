/** Plans whose arguments are hostile, and layers whose contents are: the jailer refuses, and the host is untouched. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
	chmodSync,
	chownSync,
	copyFileSync,
	existsSync,
	mkdirSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Op, op } from "../../src/linux/plan.ts";
import { missingIdMapping } from "../support/id-mapping.ts";
import { JailerFixture, type PlanParts } from "../support/jailer-fixture.ts";
import { missingCommand, missingRoot } from "../support/requirements.ts";

const skipIds = await missingIdMapping();

describe("jailer against hostile plans and layers", {
	skip: missingRoot() || missingCommand("mksquashfs"),
}, () => {
	let fixture: JailerFixture;
	before(async () => {
		fixture = await JailerFixture.open();
	});
	after(() => fixture?.close());

	async function refuses(plan: readonly Op[], errnoName: string): Promise<void> {
		await assert.rejects(fixture.jailer.run(plan), { name: "PlanError", errnoName }, JSON.stringify(plan));
	}

	async function refusesLaunch(parts: PlanParts, errnoName: string): Promise<void> {
		await refuses(fixture.plan([], parts), errnoName);
		assert.equal(existsSync(fixture.socketHostPath), false);
	}

	it("files and directories are made and removed only below the allowed folders", async () => {
		const victim = `${fixture.folder}-victim`;
		writeFileSync(victim, "");
		symlinkSync("/", join(fixture.folder, "link"));
		await refuses([op.fileRemove(victim)], "EXDEV");
		await refuses([op.fileRemove(`${fixture.folder}/../${victim.split("/").at(-1)}`)], "EXDEV");
		await refuses([op.fileRemove(`${fixture.folder}/link${victim}`)], "ELOOP");
		await refuses([op.dirCreate("/etc/made", 0o700)], "EXDEV");
		await refuses([op.dirCreate(`${fixture.folder}/link/etc/made`, 0o700)], "ELOOP");
		await refuses([op.dirCreate(`${fixture.folder}/..`, 0o700)], "EINVAL");
		await refuses([op.listen(0, "/run/made.sock")], "EXDEV");
		await refuses([op.dirRemove("relative")], "EXDEV");
		await fixture.jailer.run([op.fileRemove(join(fixture.folder, "link"))]);
		assert.ok(existsSync(victim) && existsSync("/etc/passwd"));
		rmSync(victim);
	});

	it("cgroup operations reach cgroup filesystems only, and no file that runs programs or moves tasks", async () => {
		await refuses([op.cgroupWrite("/etc/passwd", "x")], "EXDEV");
		await refuses([op.cgroupWrite("/sys/fs/cgroup/../../kernel/uevent_helper", "x")], "EXDEV");
		await refuses([op.cgroupCreate("/sys/fs/cgroup")], "EXDEV");
		await refuses([op.cgroupRemove("/etc/cgroup")], "EXDEV");
		for (const name of [
			"release_agent",
			"notify_on_release",
			"cgroup.procs",
			"tasks",
			"cgroup.event_control",
		]) {
			await refuses([op.cgroupWrite(`/sys/fs/cgroup/memory/${name}`, "1")], "EPERM");
		}
	});

	it("an image that others could change while it is mounted is refused, and so is what is no file", async () => {
		const image = join(fixture.folder, "image.squashfs");
		copyFileSync(fixture.imageHostPath("100-data"), image);
		chmodSync(image, 0o666);
		await refuses([op.layerMount("x", image)], "EPERM");
		chmodSync(image, 0o644);
		chownSync(image, 1000, 0);
		await refuses([op.layerMount("x", image)], "EPERM");
		await refuses([op.layerMount("x", fixture.folder)], "EINVAL");
		await refuses([op.layerMount("x", "/dev/zero")], "EINVAL");
		await refuses([op.layerMount("x", "relative")], "EINVAL");
		symlinkSync(fixture.imageHostPath("100-data"), join(fixture.folder, "link.squashfs"));
		await refuses([op.layerMount("x", join(fixture.folder, "link.squashfs"))], "ELOOP");
		writeFileSync(image, Buffer.alloc(65536, 1));
		chownSync(image, 0, 0);
		await refuses([op.layerMount("x", image)], "EINVAL");
		for (const id of ["..", ".", "a/b", "", "a b"]) {
			await refuses([op.layerMount(id, fixture.imageHostPath("100-data"))], "EINVAL");
			await refuses([op.layerUnmount(id)], "EINVAL");
		}
	});

	it("ids of the host's users are never mapped into a sandbox", { skip: skipIds }, async () => {
		const swap = (base: number, count: number) =>
			fixture.plan([]).map((step): Op => (step[0] === "map_ids" ? op.mapIds(base, count) : step));
		await refuses(swap(0, 65536), "EINVAL");
		await refuses(swap(1000, 1), "EINVAL");
		await refuses(swap(65536, 0), "EINVAL");
		await refuses(swap(0xfff0_0000, 0x20_0000), "EINVAL");
	});

	it("mounts never go through a symlink of the root", async () => {
		const layers = ["000-base", "666-hostile"];
		await refusesLaunch({ layers, root: [op.mount("proc", "/proc")] }, "ELOOP");
		await refusesLaunch({ layers, root: [op.mountDev()] }, "ELOOP");
		await refusesLaunch({ layers, root: [op.mount("tmpfs", "/escape/new")] }, "ELOOP");
		await refusesLaunch({ root: [op.mount("tmpfs", "/../tmp")] }, "EXDEV");
	});

	it("masks and directories that follow a symlink stay inside the root", async () => {
		mkdirSync(join(fixture.folder, "outside"));
		const answers = await fixture.ask(["list:/etc", "list:/"], {
			layers: ["000-base", "100-data", "666-hostile"],
			root: [op.mask("/escape"), op.dir(`/up${fixture.folder}/outside/made`, 0o755)],
		});
		assert.equal(answers["list:/etc"], "", "the sandbox's own /etc is hidden");
		assert.equal(existsSync(join(fixture.folder, "outside/made")), false);
		assert.match(answers["list:/"] ?? "", /\btmp\b/);
	});

	it("filesystems, flags and descriptors outside the closed sets are refused", async () => {
		await refusesLaunch({ root: [["mount", "overlay", "/x", "", "lowerdir=/"]] }, "EPERM");
		await refusesLaunch({ root: [["mount", "cgroup2", "/x", ""]] }, "EPERM");
		await refusesLaunch({ root: [["mount", "tmpfs", "/x", "suid"]] }, "EINVAL");
		await refusesLaunch({ confine: [op.netlink(new Uint8Array(16))] }, "EINVAL");
		await refusesLaunch({ confine: [op.seccomp(new Uint8Array(7))] }, "EINVAL");
		await refusesLaunch({ confine: [["rlimit", "nofile", "-1", "1"]] }, "EINVAL");
		await refusesLaunch({ exec: op.exec({ path: "@agent", keep: [1], argv: ["x"] }) }, "EINVAL");
		await refusesLaunch({ exec: op.exec({ path: "probe", argv: ["x"] }) }, "EINVAL");
		await refusesLaunch({ exec: ["exec", "@agent", "", 2, "x"] }, "EINVAL");
	});

	it("signals go to the jailer's own children only", async () => {
		const bystander = spawn("sleep", ["60"]);
		await fixture.jailer.kill(bystander.pid ?? 0, 9);
		assert.equal(bystander.exitCode ?? bystander.signalCode, null);
		process.kill(bystander.pid ?? 0, 0);
		bystander.kill("SIGKILL");
		await once(bystander, "exit");
	});

	it("a sandbox cannot change the agent that all sandboxes run", async () => {
		const answers = await fixture.ask(["write:/proc/self/exe"]);
		assert.match(answers["write:/proc/self/exe"] ?? "", /^E(TXTBSY|ACCES|PERM)$/);
	});
});
