import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import { detectKernelFeatures } from "./features.ts";

const GOOD: Readonly<Record<string, string>> = {
	"proc/sys/kernel/osrelease": "6.18.1-test\n",
	"proc/sys/user/max_user_namespaces": "1000\n",
	"proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno trace log allow\n",
	"proc/filesystems": "nodev\ttmpfs\nnodev\toverlay\n\tsquashfs\n\text4\nnodev\tmqueue\n",
	"proc/self/mountinfo": "",
	"proc/self/cgroup": "0::/\n",
	"proc/swaps": "Filename\n",
	"proc/pressure/memory": "",
	"dev/loop-control": "",
	...Object.fromEntries(
		["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].map((name) => [`proc/self/ns/${name}`, ""]),
	),
};

async function detect(t: TestContext, changes: Readonly<Record<string, string | undefined>> = {}) {
	const rootPath = mkdtempSync(join(tmpdir(), "shale-features-"));
	t.after(() => rmSync(rootPath, { recursive: true }));
	for (const [path, text] of Object.entries({ ...GOOD, ...changes })) {
		if (text === undefined) continue;
		mkdirSync(join(rootPath, dirname(path)), { recursive: true });
		writeFileSync(join(rootPath, path), text);
	}
	return new Map((await detectKernelFeatures({ rootPath })).map((feature) => [feature.name, feature]));
}

test("a complete kernel passes, apart from the cgroups that this one has not mounted", async (t) => {
	const features = await detect(t);
	assert.deepEqual(
		[...features.values()].filter(({ ok }) => !ok).map(({ name }) => name),
		["cgroups"],
	);
	assert.match(features.get("cgroups")?.detail ?? "", /none; no limits for: cpu memory pids/);
});

test("each thing that is missing is named with its fix", async (t) => {
	const features = await detect(t, {
		"proc/sys/kernel/osrelease": "5.15.0-test\n",
		"proc/sys/user/max_user_namespaces": "0\n",
		"proc/sys/kernel/seccomp/actions_avail": undefined,
		"proc/filesystems": "nodev\ttmpfs\n\text4\nnodev\tmqueue\n",
		"proc/pressure/memory": undefined,
		"dev/loop-control": undefined,
		"proc/self/ns/time": undefined,
	});
	for (const feature of features.values()) {
		assert.equal(feature.ok, false, feature.name);
		assert.ok(feature.fix, feature.name);
	}
	assert.equal(features.get("filesystems")?.fix, "modprobe overlay; modprobe squashfs");
	assert.equal(features.get("namespaces")?.detail, "missing: time");
});
