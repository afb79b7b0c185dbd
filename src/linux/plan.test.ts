import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { encodePlan, explainPlan, OPS, op, PLAN_LIMITS, type Plan } from "./plan.ts";

const HEADER = readFileSync(new URL("../../native/plan.h", import.meta.url), "utf8");

function constant(name: string): number {
	const text = new RegExp(`#define ${name} (.*)`).exec(HEADER)?.[1] ?? "";
	return text
		.replace(/[()]/g, "")
		.split("*")
		.reduce((product, factor) => product * Number(factor), 1);
}

test("plan.ts and plan.h list the same operations with the same numbers, phases and word counts", () => {
	const pattern = /OP\((\d+), ([A-Z0-9_]+), "([a-z0-9_]+)", (HOST|GUEST), (\d+), (\w+), (TEXT|BINARY)\)/g;
	const inHeader = [...HEADER.matchAll(pattern)].map(([, number, , name, phase, least, most, kind]) => [
		name,
		{
			opcode: Number(number),
			phase: phase?.toLowerCase(),
			minWords: Number(least),
			maxWords: most === "PLAN_MAX_WORDS" ? constant("PLAN_MAX_WORDS") : Number(most),
			...(kind === "BINARY" ? { binary: true } : {}),
		},
	]);
	assert.deepEqual(Object.entries(OPS), inHeader);
});

test("the limits of plan.ts are those of plan.h", () => {
	assert.deepEqual(PLAN_LIMITS, {
		bytes: constant("PLAN_MAX_BYTES"),
		ops: constant("PLAN_MAX_OPS"),
		words: constant("PLAN_MAX_WORDS"),
		wordBytes: constant("PLAN_MAX_WORD_BYTES"),
	});
});

test("a plan is encoded byte by byte as native/README.md says", () => {
	const expected = [
		...Buffer.from("SHALEPL1"),
		...[2, 0, 0, 0],
		...[7, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, ...Buffer.from("/a/b"), 0, 3, 0, 0, 0, ...Buffer.from("700"), 0],
		...[40, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 9, 0, 8, 0],
	];
	const plan: Plan = [op.dirCreate("/a/b", 0o700), op.netlink(Uint8Array.of(9, 0, 8))];
	assert.deepEqual([...encodePlan(plan)], expected);
});

test("every constructor makes an operation that can be encoded", () => {
	const masks = { bounding: 0xa80425fbn, effective: 1n, permitted: 1n, inheritable: 0n, ambient: 0n };
	const plan: Plan = [
		op.cgroupCreate("/sys/fs/cgroup/pids/x"),
		op.cgroupEnsure("/sys/fs/cgroup/pids/x"),
		op.cgroupWrite("/sys/fs/cgroup/pids/x/pids.max", 5),
		op.dirCreate("/run/x", 0o700),
		op.dirRemove("/run/x"),
		op.fileRemove("/run/x/y"),
		op.listen(0, "/run/x/agent.sock"),
		op.layerMount("000-base", "/layers/000-base.squashfs"),
		op.layerUnmount("000-base"),
		op.clone(["user", "mount"], { cgroup2: "/sys/fs/cgroup/unified/x" }),
		op.cgroupJoin("/sys/fs/cgroup/pids/x"),
		op.cgroupKill("/sys/fs/cgroup/unified/x"),
		op.cgroupRemove("/sys/fs/cgroup/pids/x"),
		op.mapIds(100000, 65536),
		op.rootBegin(),
		op.rootLayer("000-base"),
		op.rootUpperTmpfs(1 << 20, 1000),
		op.rootUpperDisk("/x.img"),
		op.rootEnd(["nosuid", "nodev"]),
		op.guest(),
		op.enterRoot(),
		op.mount("proc", "/proc", ["nosuid"]),
		op.mountDev(),
		op.mask("/proc/kcore"),
		op.readonly("/proc/sys"),
		op.dir("/workspace", 0o755),
		op.hostname("box"),
		op.netlink(new Uint8Array(32)),
		op.rlimit("nofile", 1024, "unlimited"),
		op.waitFifo("/run/x/fifo"),
		op.capabilities(masks),
		op.noNewPrivs(),
		op.seccomp(new Uint8Array(8)),
		op.exec({ path: "@agent", keep: [0], argv: ["agent"], env: ["A=b"] }),
	];
	assert.deepEqual(new Set(plan.map(([name]) => name)), new Set(Object.keys(OPS)));
	assert.ok(encodePlan(plan).length > 0);
	assert.equal(Object.keys(op).length, Object.keys(OPS).length);
});

const refused: [why: string, plan: Plan, message: RegExp][] = [
	["a NUL in text", [["hostname", "a\0b"]], /contains a NUL/],
	["a negative number", [op.rootUpperTmpfs(-1, 5)], /not a non-negative integer/],
	["a fraction", [op.mapIds(1.5, 5)], /not a non-negative integer/],
	["too few words", [["cgroup_write", "/x"]], /1 words, expected 2 to 2/],
	["a word above 128 KiB", [op.seccomp(new Uint8Array(PLAN_LIMITS.wordBytes + 1))], /131073 bytes/],
	["binary in a text operation", [["hostname", Uint8Array.of(65)]], /binary/],
	["too many operations", Array(PLAN_LIMITS.ops + 1).fill(op.guest()), /too many operations/],
	["more than 1 MiB", Array(9).fill(op.seccomp(new Uint8Array(PLAN_LIMITS.wordBytes))), /bytes in all/],
];

for (const [why, plan, message] of refused) {
	test(`encodePlan refuses ${why}`, () => {
		assert.throws(() => encodePlan(plan), message);
	});
}

test("explainPlan prints one operation per line under a heading per phase", () => {
	const plan: Plan = [
		op.clone(["user", "mount"]),
		op.guest(),
		op.mount("proc", "/proc", ["nosuid", "nodev", "noexec"]),
		op.seccomp(new Uint8Array(312)),
		op.exec({ path: "@agent", keep: [0], argv: ["agent", "a b"] }),
	];
	assert.equal(
		explainPlan(plan),
		[
			"# host",
			"clone user mount",
			"",
			"# guest",
			"guest",
			"mount proc /proc nosuid,nodev,noexec",
			"seccomp <312 bytes>",
			"",
			"# exec",
			'exec @agent 0 0 agent "a b"',
			"",
		].join("\n"),
	);
});
