/**
 * Plans of every kind, with which the fuzzer of the decoder begins. `node test/support/plan-corpus.ts` writes them to
 * native/fuzz/corpus/plan; the other files there are inputs that it found.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileLaunchPlan, type LaunchPlanInput } from "../../src/backends/namespace/launch-plan.ts";
import { encodePlan, op, type Plan } from "../../src/linux/plan.ts";

export const PLAN_CORPUS_FOLDER = join(import.meta.dirname, "../../native/fuzz/corpus/plan");

const LAUNCH: LaunchPlanInput = {
	hostname: "box",
	mountIds: ["000-base", "100-python3"],
	socketHostPath: "/run/x/box.sock",
	upper: { kind: "tmpfs", bytes: 1 << 20 },
	hostIdBase: 0x7000_0000,
	cgroups: {
		before: [op.cgroupCreate("/sys/fs/cgroup/x"), op.cgroupWrite("/sys/fs/cgroup/x/pids.max", 64)],
		unified: "/sys/fs/cgroup/x",
		join: [],
	},
	seccompFilter: new Uint8Array(16),
};

/** By file name. */
export const PLAN_CORPUS: Readonly<Record<string, Plan>> = {
	launch: compileLaunchPlan(LAUNCH),
	"launch-v1": compileLaunchPlan({
		...LAUNCH,
		hostIdBase: undefined,
		upper: { kind: "disk", imageHostPath: "/x/box.ext4" },
		cgroups: {
			before: [op.cgroupEnsure("/sys/fs/cgroup/pids/x")],
			unified: undefined,
			join: [op.cgroupJoin("/sys/fs/cgroup/pids/x")],
		},
	}),
	remove: [
		op.cgroupKill("/sys/fs/cgroup/x"),
		op.cgroupRemove("/sys/fs/cgroup/x"),
		op.fileRemove("/run/x/box.sock"),
		op.dirRemove("/run/x/box"),
	],
	layers: [op.layerMount("000-base", "/x/000-base.squashfs"), op.layerUnmount("000-base")],
	hooks: [
		op.dirCreate("/run/x/box", 0o700),
		op.clone(["mount"]),
		op.rootBegin(),
		op.rootLayer("000-base"),
		op.rootUpperTmpfs(4096, 1),
		op.rootEnd(),
		op.guest(),
		op.dir("/a", 0o755),
		op.enterRoot(),
		op.waitFifo("/run/x/fifo"),
		op.exec({ path: "/bin/sh", keep: [1, 2], argv: ["sh", "-c", "true"], env: ["A=b"] }),
	],
	empty: [],
};

if (process.argv[1] === import.meta.filename) {
	for (const [name, plan] of Object.entries(PLAN_CORPUS)) {
		writeFileSync(join(PLAN_CORPUS_FOLDER, name), encodePlan(plan));
	}
}
