import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import {
	type CgroupLayout,
	detectCgroups,
	listCgroups,
	planCreate,
	planRemove,
	prepareCgroups,
	readStats,
} from "./cgroups.ts";
import { explainPlan } from "./plan.ts";

/** Makes files below a new directory and returns it; `@` in their text stands for the directory. */
function fake(t: TestContext, files: Readonly<Record<string, string>>): string {
	const rootPath = mkdtempSync(join(tmpdir(), "shale-cgroups-"));
	t.after(() => rmSync(rootPath, { recursive: true }));
	for (const [path, text] of Object.entries({
		"proc/self/cgroup": "0::/\n",
		"proc/swaps": "Filename\n",
		...files,
	})) {
		mkdirSync(join(rootPath, dirname(path)), { recursive: true });
		writeFileSync(join(rootPath, path), text.replaceAll("@", rootPath));
	}
	return rootPath;
}

const HYBRID = {
	"proc/self/mountinfo": [
		"31 23 0:28 / @/cg rw,relatime - tmpfs tmpfs rw,mode=755",
		"32 31 0:29 / @/cg/cpu\\054cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct",
		"35 31 0:32 / @/cg/memory rw,relatime - cgroup cgroup rw,memory",
		"37 31 0:36 / @/cg/pids rw,relatime - cgroup cgroup rw,pids",
		"40 31 0:37 / @/cg/systemd rw,relatime - cgroup cgroup rw,name=systemd",
		"41 31 0:38 / @/cg/unified rw,relatime - cgroup2 cgroup2 rw",
	].join("\n"),
	"cg/cpu,cpuacct/tasks": "",
	"cg/memory/memory.memsw.limit_in_bytes": "",
	"cg/memory/memory.kmem.tcp.limit_in_bytes": "",
	"cg/pids/tasks": "",
	"cg/unified/cgroup.controllers": "hugetlb\n",
	"cg/unified/cgroup.subtree_control": "",
	"cg/unified/shale/cgroup.controllers": "",
	"cg/unified/shale/cgroup.subtree_control": "",
};

const V2 = {
	"proc/self/mountinfo": "31 23 0:28 / @/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
	"cg/cgroup.controllers": "cpuset cpu io memory pids\n",
	"cg/cgroup.subtree_control": "cpu\n",
	"cg/shale/cgroup.controllers": "cpu memory pids\n",
	"cg/shale/cgroup.subtree_control": "cpu memory pids\n",
};

const LIMITS = { cpuMillis: 500, memoryBytes: 64 << 20, swapBytes: 0, processes: 64 } as const;

function detect(rootPath: string): Promise<CgroupLayout> {
	return detectCgroups({ procPath: join(rootPath, "proc") });
}

function explain(rootPath: string, layout: CgroupLayout, limits = LIMITS): string {
	const { before, join: joins, paths } = planCreate(layout, "box", limits);
	return explainPlan([...before, ...joins, ...planRemove(paths)]).replaceAll(`${rootPath}/cg`, "@");
}

test("on a hybrid host the v1 controllers limit and the unified cgroup is there to kill and freeze", async (t) => {
	const rootPath = fake(t, HYBRID);
	const layout = await prepareCgroups(await detect(rootPath));
	assert.equal(layout.mode, "hybrid");
	assert.equal(layout.swap, "limited");
	assert.equal(
		explain(rootPath, layout),
		`# host
cgroup_ensure @/unified/shale
cgroup_ensure @/cpu,cpuacct/shale
cgroup_ensure @/memory/shale
cgroup_ensure @/pids/shale
cgroup_create @/unified/shale/box
cgroup_create @/cpu,cpuacct/shale/box
cgroup_create @/memory/shale/box
cgroup_create @/pids/shale/box
cgroup_write @/cpu,cpuacct/shale/box/cpu.cfs_quota_us 50000
cgroup_write @/memory/shale/box/memory.limit_in_bytes 67108864
cgroup_write @/memory/shale/box/memory.kmem.tcp.limit_in_bytes 16777216
cgroup_write @/memory/shale/box/memory.memsw.limit_in_bytes 67108864
cgroup_write @/pids/shale/box/pids.max 64
cgroup_join @/cpu,cpuacct/shale/box
cgroup_join @/memory/shale/box
cgroup_join @/pids/shale/box
cgroup_remove @/unified/shale/box
cgroup_remove @/cpu,cpuacct/shale/box
cgroup_remove @/memory/shale/box
cgroup_remove @/pids/shale/box
`,
	);
});

test("on v2 one cgroup has all limits and nothing has to be joined", async (t) => {
	const rootPath = fake(t, V2);
	const layout = await prepareCgroups(await detect(rootPath));
	assert.equal(layout.mode, "v2");
	assert.equal(planCreate(layout, "box", LIMITS).unified, join(rootPath, "cg/shale/box"));
	assert.equal(
		explain(rootPath, layout),
		`# host
cgroup_ensure @/shale
cgroup_create @/shale/box
cgroup_write @/shale/box/cpu.max "50000 100000"
cgroup_write @/shale/box/memory.max 67108864
cgroup_write @/shale/box/memory.swap.max 0
cgroup_write @/shale/box/pids.max 64
cgroup_remove @/shale/box
`,
	);
	assert.equal(readFileSync(join(rootPath, "cg/cgroup.subtree_control"), "utf8"), "+pids");
});

test("a hierarchy that may not be written to is left out, and its limits are refused by name", async (t) => {
	const rootPath = fake(t, { ...V2, "proc/self/mountinfo": "31 23 0:28 / @/absent ro - cgroup2 cgroup2 ro" });
	const layout = await detect(rootPath);
	assert.equal(layout.mode, "none");
	assert.throws(() => planCreate(layout, "box", { cpuMillis: 500 }), {
		code: "unsupported",
		message: /^cpuMillis cannot be applied: no cpu controller/,
		hint: /Delegate=yes/,
	});
	assert.deepEqual(planCreate(layout, "box", {}).before, []);
});

test("what was delegated to this process is used where the top may not be changed", async (t) => {
	const rootPath = fake(t, {
		"proc/self/mountinfo": "31 23 0:28 /outer @/absent/.. rw - cgroup2 cgroup2 rw",
		"proc/self/cgroup": "0::/outer/user.slice\n",
		"user.slice/cgroup.controllers": "memory pids\n",
	});
	const layout = await detect(rootPath);
	assert.equal(layout.unified?.parentHostPath, join(rootPath, "user.slice/shale"));
	assert.deepEqual(layout.unified?.controllers, ["memory", "pids"]);
});

test("only the cgroups that the limits need are made", async (t) => {
	const layout = await detect(fake(t, HYBRID));
	const { paths, join: joins } = planCreate(layout, "box", { processes: 5 });
	assert.deepEqual(Object.keys(paths.v1), ["pids"]);
	assert.equal(joins.length, 1);
});

test("a device list needs the v1 controller", async (t) => {
	const layout = await detect(fake(t, V2));
	assert.throws(() => planCreate(layout, "box", { onlyStandardDevices: true }), { code: "unsupported" });
});

test("impossible limits are refused before anything is made", async (t) => {
	const layout = await detect(fake(t, HYBRID));
	for (const limits of [
		{ cpuMillis: 9 },
		{ memoryBytes: 0 },
		{ processes: 1.5 },
		{ swapBytes: 1 },
		{ processes: -1 },
	]) {
		assert.throws(() => planCreate(layout, "box", limits), { code: "invalid_argument" });
	}
	assert.throws(() => planCreate({ ...layout, swap: "uncounted" }, "box", { memoryBytes: 1, swapBytes: 0 }), {
		code: "unsupported",
	});
});

test("stats are read from v1 controllers and the unified cgroup together", async (t) => {
	const rootPath = fake(t, {
		"u/cpu.stat": "usage_usec 1234\nuser_usec 1000\n",
		"cpu/cpu.stat": "nr_periods 3\nthrottled_time 5000999\n",
		"mem/memory.usage_in_bytes": "4096\n",
		"mem/memory.max_usage_in_bytes": "8192\n",
		"mem/memory.limit_in_bytes": "67108864\n",
		"mem/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"pids/pids.current": "3\n",
	});
	const at = (name: string) => join(rootPath, name);
	assert.deepEqual(
		await readStats({
			name: "box",
			unified: at("u"),
			v1: { cpu: at("cpu"), memory: at("mem"), pids: at("pids") },
		}),
		{
			memoryBytes: 4096,
			memoryPeakBytes: 8192,
			memoryLimitBytes: 67108864,
			oomKills: 2,
			cpuUsageUs: 1234,
			cpuThrottledUs: 5001,
			processes: 3,
			io: undefined,
		},
	);
});

test("stats are read from a v2 cgroup, and are zero when it is gone", async (t) => {
	const rootPath = fake(t, {
		"u/cpu.stat": "usage_usec 10\nthrottled_usec 7\n",
		"u/memory.current": "1\n",
		"u/memory.max": "5\n",
		"u/memory.events": "oom 1\noom_kill 1\noom_group_kill 0\n",
		"u/pids.current": "1\n",
		"u/io.stat": "8:0 rbytes=5 wbytes=6 rios=1\n8:16 rbytes=1 wbytes=2\n",
	});
	const stats = await readStats({ name: "box", unified: join(rootPath, "u"), v1: {} });
	assert.deepEqual(stats, {
		memoryBytes: 1,
		memoryPeakBytes: 0,
		memoryLimitBytes: 5,
		oomKills: 1,
		cpuUsageUs: 10,
		cpuThrottledUs: 7,
		processes: 1,
		io: { readBytes: 6, writtenBytes: 8 },
	});
	const gone = await readStats({ name: "box", unified: join(rootPath, "gone"), v1: {} });
	assert.equal(gone.processes + gone.cpuUsageUs + gone.memoryBytes, 0);
});

test("cgroups are listed by sandbox, whichever hierarchies still have them", async (t) => {
	const rootPath = fake(t, {
		...HYBRID,
		"cg/unified/shale/one/cgroup.procs": "",
		"cg/memory/shale/one/tasks": "",
		"cg/memory/shale/two/tasks": "",
		"cg/unified/shale/shale-host/cgroup.procs": "",
	});
	const found = await listCgroups(await detect(rootPath));
	assert.deepEqual(
		found.map(({ name, unified, v1 }) => [name, unified !== undefined, Object.keys(v1)]),
		[
			["one", true, ["memory"]],
			["two", false, ["memory"]],
		],
	);
});
