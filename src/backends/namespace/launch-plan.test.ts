import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { explainPlan, op } from "../../linux/plan.ts";
import { ROOT_ONLY_PATHS } from "../../linux/proc-paths.ts";
import { compileLaunchPlan, type LaunchPlanInput } from "./launch-plan.ts";

const simple: LaunchPlanInput = {
	hostname: "demo",
	mountIds: ["000-base", "100-python3"],
	socketHostPath: "/run/shale/sandboxes/demo.sock",
	upper: { kind: "tmpfs", bytes: 16 * 1024 * 1024 },
	hostIdBase: 0x7000_0000,
	cgroups: {
		before: [
			op.cgroupCreate("/sys/fs/cgroup/shale/demo"),
			op.cgroupWrite("/sys/fs/cgroup/shale/demo/pids.max", 64),
		],
		unified: "/sys/fs/cgroup/shale/demo",
		join: [],
	},
	seccompFilter: new Uint8Array(80),
};

describe("compileLaunchPlan", () => {
	it("makes this plan of a simple sandbox, line by line", () => {
		assert.equal(
			explainPlan(compileLaunchPlan(simple)),
			`# host
cgroup_create /sys/fs/cgroup/shale/demo
cgroup_write /sys/fs/cgroup/shale/demo/pids.max 64
listen 0 /run/shale/sandboxes/demo.sock
clone user mount pid net ipc uts cgroup time cgroup2=/sys/fs/cgroup/shale/demo
map_ids 1879048192 65536
root_begin
root_layer 000-base
root_layer 100-python3
root_upper_tmpfs 16777216 4096
root_end nosuid,nodev

# guest
guest
hostname demo
netlink <32 bytes>
enter_root
mount proc /proc nosuid,nodev,noexec
mount sysfs /sys ro,nosuid,nodev,noexec
mount_dev
mount devpts /dev/pts nosuid,noexec newinstance,ptmxmode=0666,mode=0620,gid=5,max=128
mount tmpfs /dev/shm nosuid,nodev,noexec mode=1777,size=67108864
mount mqueue /dev/mqueue nosuid,nodev,noexec
mask /proc/acpi
mask /proc/asound
mask /proc/interrupts
mask /proc/kcore
mask /proc/keys
mask /proc/latency_stats
mask /proc/scsi
mask /proc/sched_debug
mask /proc/timer_list
mask /proc/timer_stats
mask /sys/dev/block
mask /sys/devices/virtual/powercap
mask /sys/firmware
mask /sys/fs/selinux
readonly /proc/bus
readonly /proc/fs
readonly /proc/irq
readonly /proc/sys
readonly /proc/sysrq-trigger
rlimit core 0 0
capabilities 800405fb 800405fb 800405fb 0 0
no_new_privs
seccomp <80 bytes>

# exec
exec @agent 0 0 shale-agent
`,
		);
	});

	it("leaves the user namespace and the mapping out where the kernel cannot map layers, and hides more", () => {
		const mapped = compileLaunchPlan(simple);
		const unmapped = compileLaunchPlan({ ...simple, hostIdBase: undefined });
		const hidden = ROOT_ONLY_PATHS.map((path) => op.mask(path));
		assert.deepEqual(
			unmapped.filter((step) => !hidden.some((mask) => isDeepStrictEqual(mask, step))),
			mapped
				.filter(([name]) => name !== "map_ids")
				.map((step) => (step[0] === "clone" ? step.filter((word) => word !== "user") : step)),
		);
		assert.equal(unmapped.length, mapped.length - 1 + hidden.length);
	});

	it("puts the writable layer on its disk image when there is one", () => {
		const plan = compileLaunchPlan({
			...simple,
			upper: { kind: "disk", imageHostPath: "/uppers/demo.ext4" },
		});
		assert.deepEqual(
			plan.filter(([name]) => name.startsWith("root_upper")),
			[["root_upper_disk", "/uppers/demo.ext4"]],
		);
	});
});
