import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import {
	readAvailableMemoryMiB,
	readFreeDiskMiB,
	readFreeLoopDevices,
	readFreeProcesses,
	readImages,
} from "./host-resources.ts";
import { readPressure } from "./pressure.ts";

const folder = mkdtempSync(join(tmpdir(), "shale-host-"));
after(() => rmSync(folder, { recursive: true }));

/** A root folder with these files. */
function createRoot(files: Readonly<Record<string, string>>): string {
	const rootPath = mkdtempSync(join(folder, "root-"));
	for (const [path, text] of Object.entries(files)) {
		mkdirSync(dirname(join(rootPath, path)), { recursive: true });
		writeFileSync(join(rootPath, path), text);
	}
	return rootPath;
}

test("memory is what is available, not what is free", () => {
	const meminfo = "MemTotal:       24000000 kB\nMemFree:          100000 kB\nMemAvailable:    2097152 kB\n";
	assert.equal(readAvailableMemoryMiB({ rootPath: createRoot({ "proc/meminfo": meminfo }) }), 2048);
	assert.ok(readAvailableMemoryMiB() > 0);
});

test("processes are limited by the lower of two limits, and threads count", () => {
	const rootPath = createRoot({
		"proc/sys/kernel/pid_max": "32768\n",
		"proc/sys/kernel/threads-max": "1000\n",
		"proc/loadavg": "0.63 0.61 0.32 1/122 3379\n",
	});
	assert.equal(readFreeProcesses({ rootPath }), 878);
	assert.ok(readFreeProcesses() > 0);
});

test("loop devices are made on demand, or are those that nobody uses", () => {
	const files = {
		"dev/loop0": "",
		"dev/loop1": "",
		"dev/loop2": "",
		"dev/loopback": "",
		"sys/block/loop1/loop/backing_file": "/x",
	};
	assert.equal(readFreeLoopDevices({ rootPath: createRoot(files) }), 2);
	assert.equal(readFreeLoopDevices({ rootPath: createRoot({ ...files, "dev/loop-control": "" }) }), 1 << 20);
	assert.equal(readFreeLoopDevices({ rootPath: createRoot({ "dev/null": "" }) }), 0);
});

test("a sparse image has a size and less on the disk", () => {
	const rootPath = createRoot({ "sb-1.ext4": "x", "sb-2.ext4": "" });
	truncateSync(join(rootPath, "sb-1.ext4"), 64 * 1024 * 1024);
	mkdirSync(join(rootPath, "folder"));
	const [first, second] = readImages(rootPath).sort((a, b) => (a.name < b.name ? -1 : 1));
	assert.deepEqual([first?.name, first?.sizeMiB], ["sb-1", 64]);
	assert.ok((first?.allocatedMiB ?? 99) < 1);
	assert.deepEqual(second, { name: "sb-2", sizeMiB: 0, allocatedMiB: 0 });
	assert.ok(readFreeDiskMiB(rootPath) > 0);
});

test("pressure is read of both lines, and is unknown where the kernel has none", () => {
	const memory =
		"some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull avg10=3.25 avg60=0.00 avg300=0.00 total=0\n";
	const procPath = join(
		createRoot({ "proc/pressure/memory": memory, "proc/pressure/cpu": memory.split("\n")[0] ?? "" }),
		"proc",
	);
	assert.deepEqual(readPressure("memory", { procPath }), { some: 12.5, full: 3.25 });
	assert.deepEqual(readPressure("cpu", { procPath }), { some: 12.5, full: 0 });
	assert.equal(readPressure("io", { procPath }), undefined);
});
