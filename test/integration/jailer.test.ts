import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Jailer, PlanError } from "../../src/linux/jailer.ts";
import { encodePlan, op } from "../../src/linux/plan.ts";
import { HOST_ID_BASE, JAILER_PATH, JailerFixture } from "../support/jailer-fixture.ts";
import { missingCommand, missingRoot } from "../support/requirements.ts";

const skip = missingRoot() || missingCommand("mksquashfs") || missingCommand("mkfs.ext4");

describe("jailer", { skip }, () => {
	let fixture: JailerFixture;
	before(async () => {
		fixture = await JailerFixture.open();
	});
	after(() => fixture?.close());

	it("a sandbox sees its layers, its own namespaces, and nothing of the host", async () => {
		const answers = await fixture.ask(
			["list:/", "stat:/", "stat:/etc/data", "read:/proc/self/uid_map", "list:/sys/class/net", "links:/dev"],
			{ confine: [op.hostname("inside")] },
		);
		assert.equal(answers["list:/"], "dev etc probe proc sys");
		assert.equal(answers["stat:/"], "40755 0:0");
		assert.equal(answers["stat:/etc/data"], "100644 0:0", "the layer's ids are mapped");
		const range = fixture.namespaces.includes("user") ? `${HOST_ID_BASE} +65536` : "0 +4294967295";
		assert.match(answers["read:/proc/self/uid_map"] ?? "", new RegExp(`^0 +${range}\\|$`));
		assert.equal(answers["list:/sys/class/net"], "lo");
		assert.equal(
			answers["links:/dev"],
			"fd>/proc/self/fd full mqueue null ptmx>pts/ptmx pts random shm stderr>/proc/self/fd/2 " +
				"stdin>/proc/self/fd/0 stdout>/proc/self/fd/1 tty urandom zero",
		);
	});

	it("the sandbox's mount table has only what the plan mounted", async () => {
		const answers = await fixture.ask(["read:/proc/self/mountinfo"]);
		const mounts = (answers["read:/proc/self/mountinfo"] ?? "").split("|").filter((line) => line !== "");
		assert.deepEqual(
			mounts.map((line) => line.split(" ").slice(3, 6).join(" ")),
			[
				"/ / rw,nosuid,nodev,relatime",
				"/ /proc rw,nosuid,nodev,noexec,relatime",
				"/ /sys ro,nosuid,nodev,noexec,relatime",
				"/dev /dev ro,nosuid,noexec,relatime",
			],
		);
	});

	it("the program has /dev/null, the kept slots, and no other descriptor", async () => {
		const answers = await fixture.ask(["links:/proc/self/fd"]);
		// 4 is the probe's connection, 5 the directory that it reads.
		assert.match(
			answers["links:/proc/self/fd"] ?? "",
			/^0>\/dev\/null 1>\/dev\/null 2>\/dev\/null 3>socket:\[\d+\] 4>socket:\[\d+\] 5$/,
		);
	});

	it("the program starts with default signals, its own session, and exactly the privileges of the plan", async () => {
		const masks = { bounding: 0x21n, effective: 0x20n, permitted: 0x21n, inheritable: 0n, ambient: 0n };
		const allowAll = Uint8Array.of(6, 0, 0, 0, 0, 0, 0xff, 0x7f);
		const answers = await fixture.ask(["read:/proc/self/status", "read:/proc/self/limits"], {
			confine: [op.rlimit("nofile", 100, 200), op.capabilities(masks), op.noNewPrivs(), op.seccomp(allowAll)],
		});
		const status = answers["read:/proc/self/status"] ?? "";
		assert.match(status, /\|NSsid:\t1\|/);
		assert.match(status, /\|SigBlk:\t0{16}\|SigIgn:\t0{16}\|/);
		assert.match(
			status,
			/\|CapPrm:\t0{14}21\|CapEff:\t0{14}21\|CapBnd:\t0{14}21\|/,
			"root has its bounding set",
		);
		assert.match(status, /\|NoNewPrivs:\t1\|Seccomp:\t2\|Seccomp_filters:\t1\|/);
		assert.match(answers["read:/proc/self/limits"] ?? "", /Max open files +100 +200 /);
	});

	it("masks hide files and directories, readonly holds, and both pass over what is not there", async () => {
		const answers = await fixture.ask(
			["read:/proc/cpuinfo", "list:/etc", "write:/etc/x", "write:/fixed/x", "write:/x"],
			{
				root: [
					op.mount("proc", "/proc"),
					op.mountDev(),
					op.mask("/proc/cpuinfo"),
					op.mask("/etc"),
					op.mask("/nowhere"),
					op.dir("/fixed", 0o777),
					op.readonly("/fixed"),
					op.readonly("/nowhere"),
				],
			},
		);
		assert.equal(answers["read:/proc/cpuinfo"], "");
		assert.equal(answers["list:/etc"], "");
		assert.match(answers["write:/etc/x"] ?? "", /^E(ACCES|ROFS)$/);
		assert.equal(answers["write:/fixed/x"], "EROFS");
		assert.equal(answers["write:/x"], "ok");
	});

	it("dir makes what is missing and may follow the root's own symlinks", async () => {
		const answers = await fixture.ask(["stat:/a/b", "stat:/a", "list:/etc"], {
			layers: ["000-base", "100-data", "666-hostile"],
			root: [op.dir("/a/b", 0o1777), op.dir("/escape/made", 0o700), op.dir("/etc", 0o700)],
		});
		assert.equal(answers["stat:/a/b"], "41777 0:0");
		assert.equal(answers["stat:/a"], "40755 0:0");
		assert.equal(answers["list:/etc"], "data made", "in the sandbox's /etc, not in the host's");
		assert.equal(existsSync("/etc/made"), false);
	});

	it("an upper on tmpfs and one on a disk image both hold their quota", async () => {
		const imageHostPath = join(fixture.folder, "upper.ext4");
		writeFileSync(imageHostPath, Buffer.alloc(1 << 20), { mode: 0o600 });
		execFileSync("mkfs.ext4", ["-q", "-m", "0", "-O", "^has_journal", "-N", "24", imageHostPath]);
		const many = Array.from({ length: 16 }, (_, index) => `mkdir:/${index}`);
		await fixture.ask(["mkdir:/kept"], { upper: op.rootUpperDisk(imageHostPath), root: [] });
		for (const upper of [op.rootUpperTmpfs(1 << 20, 8), op.rootUpperDisk(imageHostPath)]) {
			const answers = await fixture.ask(["stat:/kept", ...many], { upper, root: [] });
			assert.equal(answers["mkdir:/0"], "ok");
			assert.equal(answers["mkdir:/15"], "ENOSPC");
			assert.equal(answers["stat:/kept"], upper[0] === "root_upper_disk" ? "40755 0:0" : "ENOENT");
		}
	});

	it("a sandbox without a user namespace is made as well", async () => {
		const answers = await fixture.ask(["read:/proc/self/uid_map", "stat:/etc/data"], {
			namespaces: ["mount", "pid", "net", "ipc", "uts"],
		});
		assert.match(answers["read:/proc/self/uid_map"] ?? "", /^0 +0 +4294967295\|$/);
		assert.equal(answers["stat:/etc/data"], "100644 0:0");
	});

	const v1 = "/sys/fs/cgroup/pids";
	const v2 = "/sys/fs/cgroup/unified";
	const skipCgroups = existsSync(v1) && existsSync(v2) ? false : "needs cgroups v1 and v2 side by side";

	it("cgroups are made, joined, killed and removed", { skip: skipCgroups }, async () => {
		const cgroups = [`${v1}/shale-jailer-test`, `${v2}/shale-jailer-test`] as const;
		const parts = {
			host: [
				...cgroups.flatMap((path) => [op.cgroupEnsure(path), op.cgroupCreate(`${path}/a`)]),
				op.cgroupWrite(`${cgroups[0]}/a/pids.max`, 5),
			],
			cgroup2: `${cgroups[1]}/a`,
			afterClone: [op.cgroupJoin(`${cgroups[0]}/a`)],
		};
		const { hostPid } = await fixture.jailer.run(fixture.plan(["wait"], parts));
		const exited = fixture.exit(hostPid);
		for (const path of cgroups) assert.equal(readFileSync(`${path}/a/cgroup.procs`, "utf8"), `${hostPid}\n`);
		assert.equal(readFileSync(`${cgroups[0]}/a/pids.max`, "utf8"), "5\n");
		await assert.rejects(fixture.jailer.run([op.cgroupCreate(`${cgroups[0]}/a`)]), { errnoName: "EEXIST" });
		await assert.rejects(fixture.jailer.run([op.cgroupRemove(cgroups[0])]), { errnoName: "EBUSY" });
		await fixture.jailer.run([op.cgroupKill(`${cgroups[1]}/a`), op.fileRemove(fixture.socketHostPath)]);
		assert.equal((await exited).waitStatus, 9);
		const removals = cgroups.map((path) => op.cgroupRemove(path));
		execFileSync("mkdir", ["-p", `${cgroups[0]}/a/b/c`]);
		await fixture.jailer.run([...removals, ...removals]);
		const answers = await fixture.ask(["read:/proc/self/cgroup"], parts);
		const lines = (answers["read:/proc/self/cgroup"] ?? "").split("|");
		assert.ok(lines.includes("0::/"), "the unified cgroup is the top of the sandbox's view");
		assert.match(lines.find((line) => line.includes(":pids:")) ?? "", /:pids:\/$/);
		await fixture.jailer.run(removals);
		assert.ok(cgroups.every((path) => !existsSync(path)));
	});

	it("a cgroup without cgroup.kill is killed process by process", { skip: skipCgroups }, async () => {
		const cgroup = `${v1}/shale-jailer-kill`;
		await fixture.jailer.run([op.cgroupCreate(cgroup)]);
		const sleepers = [1, 2, 3].map(() => spawn("sleep", ["100"]));
		const exits = sleepers.map((sleeper) => once(sleeper, "exit"));
		for (const { pid } of sleepers.slice(1)) writeFileSync(`${cgroup}/cgroup.procs`, String(pid));
		await fixture.jailer.run([op.cgroupKill(cgroup)]);
		assert.deepEqual(await Promise.all(exits.slice(1)), [
			[null, "SIGKILL"],
			[null, "SIGKILL"],
		]);
		assert.equal(sleepers[0]?.signalCode, null, "one that is not in it lives");
		sleepers[0]?.kill();
		await fixture.jailer.run([op.cgroupRemove(cgroup), op.cgroupKill(cgroup)]);
	});

	it("the exit tells the code, the signal and the resources used", async () => {
		const run = async (argument: string) => {
			const plan = fixture.plan([argument]);
			const { hostPid } = await fixture.jailer.run(plan);
			return { hostPid, exited: fixture.exit(hostPid) };
		};
		const first = await run("exit:7");
		const exit = await first.exited;
		assert.equal(exit.waitStatus, 7 << 8);
		assert.ok(exit.maxRssKiB > 0 && exit.systemTimeMs + exit.userTimeMs > 0);
		await fixture.jailer.run([op.fileRemove(fixture.socketHostPath)]);
		const second = await run("wait");
		await fixture.jailer.kill(second.hostPid, 9);
		assert.equal((await second.exited).waitStatus, 9);
		await fixture.jailer.kill(second.hostPid, 9); // gone is no error
		await fixture.jailer.run([op.fileRemove(fixture.socketHostPath)]);
	});

	it("an exit that came before anybody listened is still told", async () => {
		const { hostPid } = await fixture.jailer.run(fixture.plan(["exit:0"]));
		await new Promise((resolve) => setTimeout(resolve, 100));
		assert.equal((await fixture.exit(hostPid)).waitStatus, 0);
		await fixture.jailer.run([op.fileRemove(fixture.socketHostPath)]);
	});

	it("a failure names the operation, and what the plan made before it is gone", async () => {
		const made = join(fixture.folder, "made");
		const host = [op.dirCreate(made, 0o700)];
		// Without a user namespace there is no map_ids.
		const shift = fixture.namespaces.includes("user") ? 0 : -1;
		const cases = [
			{
				parts: { host, root: [op.mount("proc", "/probe")] },
				error: { opName: "mount", errnoName: "ENOTDIR", phase: "guest", path: "/probe", opIndex: 11 + shift },
			},
			{
				parts: { host, layers: ["missing"] },
				error: {
					opName: "root_layer",
					errnoName: "ENOENT",
					phase: "host",
					path: "missing",
					opIndex: 5 + shift,
				},
			},
			{
				parts: { host, exec: op.exec({ path: "/etc/data", argv: ["data"] }) },
				error: {
					opName: "exec",
					errnoName: "EACCES",
					phase: "guest",
					path: "/etc/data",
					opIndex: 14 + shift,
				},
			},
		] as const;
		for (const { parts, error } of cases) {
			await assert.rejects(fixture.jailer.run(fixture.plan([], parts)), { name: "PlanError", ...error });
			assert.equal(existsSync(made), false);
			assert.equal(existsSync(fixture.socketHostPath), false);
		}
		await assert.rejects(fixture.jailer.run([op.guest()]), {
			opName: "guest",
			phase: "decode",
			errnoName: "EINVAL",
		});
	});

	it("fifty failures and fifty launches leave no descriptor behind", async () => {
		await fixture.ask([]);
		const before = fixture.descriptors();
		for (let i = 0; i < 50; i++) {
			await assert.rejects(
				fixture.jailer.run(fixture.plan([], { root: [op.mount("proc", "/probe")] })),
				PlanError,
			);
			await fixture.ask([]);
		}
		assert.equal(fixture.descriptors(), before);
	});

	it("a layer can be unmounted and its device freed while a sandbox still uses it", async () => {
		await fixture.jailer.run([op.layerMount("200-temporary", fixture.imageHostPath("100-data"))]);
		await fixture.jailer.run([op.layerMount("200-temporary", fixture.imageHostPath("100-data"))]);
		const layers = ["000-base", "200-temporary"];
		const { hostPid } = await fixture.jailer.run(fixture.plan(["stat:/etc/data"], { layers }));
		const exited = fixture.exit(hostPid);
		await fixture.jailer.run([op.layerUnmount("200-temporary"), op.layerUnmount("200-temporary")]);
		assert.equal((await fixture.hear())["stat:/etc/data"], "100644 0:0");
		await exited;
		await fixture.jailer.run([op.fileRemove(fixture.socketHostPath)]);
		await assert.rejects(fixture.jailer.run(fixture.plan([], { layers })), { errnoName: "ENOENT" });
		const loops = readdirSync("/sys/block").filter((name) =>
			existsSync(`/sys/block/${name}/loop/backing_file`),
		);
		const images = loops.map((name) => readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8").trim());
		assert.equal(images.filter((image) => image === fixture.imageHostPath("100-data")).length, 1);
	});

	it("wait_fifo holds the program back until a byte is written", async () => {
		const fifo = join(fixture.folder, "start");
		execFileSync("mkfifo", [fifo]);
		const { hostPid } = await fixture.jailer.run(fixture.plan(["exit:3"], { confine: [op.waitFifo(fifo)] }));
		const exited = fixture.exit(hostPid);
		assert.match(readFileSync(`/proc/${hostPid}/comm`, "utf8"), /jailer/);
		writeFileSync(fifo, "x");
		assert.equal((await exited).waitStatus, 3 << 8);
		await fixture.jailer.run([op.fileRemove(fixture.socketHostPath), op.fileRemove(fifo)]);
	});

	it("a sandbox outlives its jailer", async () => {
		const runDir = join(fixture.folder, "second");
		execFileSync("mkdir", [runDir]);
		const second = await Jailer.start({ jailerPath: JAILER_PATH, agentPath: "/bin/true", runDir });
		await second.run(["000-base", "100-data"].map((id) => op.layerMount(id, fixture.imageHostPath(id))));
		const exec = op.exec({ path: "/probe", keep: [0], argv: ["probe", "list:/"] });
		await second.run(fixture.plan([], { exec }));
		await second.close();
		assert.equal((await fixture.hear())["list:/"], "dev etc probe proc sys");
		await fixture.jailer.run([op.fileRemove(fixture.socketHostPath)]);
	});

	it("jailer run executes one plan from a descriptor and exits as its program does", () => {
		const run = (plan: Parameters<typeof encodePlan>[0]) => {
			const planHostPath = join(fixture.folder, "plan");
			writeFileSync(planHostPath, encodePlan(plan));
			const fd = openSync(planHostPath, "r");
			const args = [
				"run",
				"3",
				"--agent",
				join(fixture.folder, "000-base/probe"),
				"--run-dir",
				fixture.runDir,
			];
			const result = spawnSync(JAILER_PATH, [...args, "--allow", fixture.folder], {
				stdio: ["ignore", "pipe", "pipe", fd],
				encoding: "utf8",
			});
			closeSync(fd);
			return result;
		};
		const mounts = ["000-base", "100-data"].map((id) => op.layerMount(id, fixture.imageHostPath(id)));
		const remove = [op.fileRemove(fixture.socketHostPath)];
		assert.equal(run([...mounts, ...fixture.plan(["exit:9"])]).status, 9);
		assert.equal(run(remove).status, 0);
		const failed = run([op.dirRemove("/etc")]);
		assert.equal(failed.status, 125);
		assert.match(failed.stderr, /^jailer: operation 0 \(dir_remove\) \/etc: the path is not below/);
	});
});
