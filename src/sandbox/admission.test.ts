import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ShaleError } from "../lib/errors.ts";
import {
	Admission,
	type HostReadings,
	type Need,
	type Thresholds,
	toNeed,
	type UpperImage,
} from "./admission.ts";

const THRESHOLDS: Thresholds = {
	minFreeMemoryMiB: 100,
	minFreeDiskMiB: 100,
	minFreeProcesses: 100,
	maxMemoryPressure: 90,
	maxIoPressure: 100,
	maxCpuPressure: 100,
	maxSandboxes: 0,
};

const OFF: Thresholds = {
	...THRESHOLDS,
	minFreeMemoryMiB: 0,
	minFreeDiskMiB: 0,
	minFreeProcesses: 0,
	maxMemoryPressure: 100,
};

/** A host that tests change as they go on, and a clock that stands still unless it is moved. */
class Host implements HostReadings {
	left = { memoryMiB: 1000, diskMiB: 1000, processes: 1000, loopDevices: 10 };
	images: UpperImage[] = [];
	pressures: Partial<Record<string, number>> = { memory: 0, io: 0, cpu: 0 };
	sandboxes = 1;
	nowMs = 0;
	memoryReads = 0;

	memoryMiB(): number {
		this.memoryReads++;
		return this.left.memoryMiB;
	}
	diskMiB(): number {
		return this.left.diskMiB;
	}
	uppers(): readonly UpperImage[] {
		return this.images;
	}
	processes(): number {
		return this.left.processes;
	}
	loopDevices(): number {
		return this.left.loopDevices;
	}
	pressure(resource: string): number | undefined {
		return this.pressures[resource];
	}
}

function create(thresholds: Partial<Thresholds> = {}) {
	const host = new Host();
	const admission = new Admission({
		thresholds: { ...THRESHOLDS, ...thresholds },
		host,
		countSandboxes: () => host.sandboxes,
		now: () => host.nowMs,
	});
	return { host, admission };
}

const TMPFS: Need = { id: "sb-1", diskMiB: 0, loopDevices: 0 };
const disk = (id: string, diskMiB: number): Need => ({ id, diskMiB, loopDevices: 1 });

async function launch(): Promise<string> {
	return "launched";
}

/** The details of the refusal. */
async function refusal(promise: Promise<unknown>): Promise<unknown> {
	let details: unknown;
	await assert.rejects(promise, (error: ShaleError) => {
		assert.equal(error.code, "resource_exhausted");
		details = error.details;
		return true;
	});
	return details;
}

describe("admission", () => {
	it("lets in when there is room, and tells what the launch gives", async () => {
		assert.equal(await create().admission.admit(TMPFS, launch), "launched");
	});

	for (const [what, change, expected] of [
		[
			"memory",
			(host: Host) => {
				host.left.memoryMiB = 99;
			},
			{ resource: "memory", available: 99, threshold: 100 },
		],
		[
			"disk",
			(host: Host) => {
				host.left.diskMiB = 99;
			},
			{ resource: "disk", available: 99, threshold: 100 },
		],
		[
			"processes",
			(host: Host) => {
				host.left.processes = 99;
			},
			{ resource: "processes", available: 99, threshold: 100 },
		],
		[
			"time without memory pressure",
			(host: Host) => {
				host.pressures.memory = 95;
			},
			{ resource: "memoryPressure", available: 5, threshold: 10 },
		],
	] as const) {
		it(`refuses for want of ${what}, counts it, and lets in when there is some again`, async () => {
			const { host, admission } = create();
			const saved = { left: { ...host.left }, pressures: { ...host.pressures } };
			change(host);
			assert.deepEqual(await refusal(admission.admit(TMPFS, launch)), expected);
			assert.equal(admission.countRefusals(expected.resource), 1);
			Object.assign(host, saved);
			host.nowMs += 250;
			await admission.admit(TMPFS, launch);
			assert.equal(admission.countRefusals(expected.resource), 1);
		});
	}

	it("does not launch what it refuses", async () => {
		const { host, admission } = create();
		host.left.memoryMiB = 0;
		await refusal(admission.admit(TMPFS, () => assert.fail("it was launched")));
	});

	it("refuses by the pressures that are switched on, each by its own threshold", async () => {
		const { host, admission } = create({ maxIoPressure: 50, maxCpuPressure: 60 });
		host.pressures = { memory: 0, io: 50, cpu: 60 };
		await admission.admit(TMPFS, launch);
		host.nowMs += 250;
		host.pressures = { memory: 0, io: 50.5, cpu: 0 };
		assert.deepEqual(await refusal(admission.admit(TMPFS, launch)), {
			resource: "ioPressure",
			available: 49.5,
			threshold: 50,
		});
		host.nowMs += 250;
		host.pressures = { memory: 0, io: 0, cpu: 100 };
		assert.deepEqual(await refusal(admission.admit(TMPFS, launch)), {
			resource: "cpuPressure",
			available: 0,
			threshold: 40,
		});
	});

	it("does not guess a pressure that the kernel does not tell", async () => {
		const { host, admission } = create();
		host.pressures = {};
		await admission.admit(TMPFS, launch);
	});

	it("with everything off looks at nothing but loop devices", async () => {
		const { host, admission } = create(OFF);
		host.left = { memoryMiB: 0, diskMiB: 0, processes: 0, loopDevices: 1 };
		host.pressures = { memory: 100, io: 100, cpu: 100 };
		host.sandboxes = 10_000;
		await admission.admit(disk("sb-1", 500), launch);
		host.left.loopDevices = 0;
		await admission.admit(TMPFS, launch);
		assert.deepEqual(await refusal(admission.admit(disk("sb-2", 1), launch)), {
			resource: "loopDevices",
			available: 0,
			threshold: 1,
		});
	});

	it("counts the sandboxes, of which the asking one is one", async () => {
		const { host, admission } = create({ maxSandboxes: 2 });
		host.sandboxes = 2;
		await admission.admit(TMPFS, launch);
		host.sandboxes = 3;
		assert.deepEqual(await refusal(admission.admit(TMPFS, launch)), {
			resource: "sandboxes",
			available: 0,
			threshold: 1,
		});
	});

	it("does not let a burst slip through between two readings", async () => {
		const { host, admission } = create();
		host.left.memoryMiB = 120;
		const launches = Array.from({ length: 20 }, () => admission.admit({ ...TMPFS }, launch));
		const ends = await Promise.allSettled(launches);
		assert.equal(ends.filter(({ status }) => status === "fulfilled").length, 6);
		assert.equal(host.memoryReads, 1);
		// A new reading has seen what they took.
		host.nowMs += 250;
		await admission.admit(TMPFS, launch);
	});

	it("counts a launch under way over readings, and gives back what a failed one had taken", async () => {
		const { host, admission } = create();
		host.left.memoryMiB = 103;
		const { promise, reject } = Promise.withResolvers<void>();
		const slow = admission.admit(TMPFS, () => promise);
		host.nowMs += 1000;
		assert.deepEqual(await refusal(admission.admit(TMPFS, launch)), {
			resource: "memory",
			available: 99,
			threshold: 100,
		});
		reject(new Error("it failed"));
		await assert.rejects(slow, { message: "it failed" });
		await admission.admit(TMPFS, launch);
	});

	it("costs no more than a reading a quarter of a second", async () => {
		const { host, admission } = create();
		for (let n = 0; n < 100; n++) await admission.admit(TMPFS, launch).catch(() => undefined);
		assert.equal(host.memoryReads, 1);
	});
});

describe("admission of disk uppers", () => {
	it("keeps what other uppers were promised and do not use yet", async () => {
		const { host, admission } = create();
		host.images = [
			{ name: "sb-a", sizeMiB: 500, allocatedMiB: 200 },
			{ name: "sb-b", sizeMiB: 100, allocatedMiB: 104 },
		];
		await admission.admit(disk("sb-1", 600), launch);
		assert.deepEqual(await refusal(admission.admit(disk("sb-2", 601), launch)), {
			resource: "disk",
			available: 700,
			threshold: 701,
		});
	});

	it("keeps what those that are being made were promised, once, whether their files are there or not", async () => {
		const { host, admission } = create();
		const { promise, resolve } = Promise.withResolvers<void>();
		const slow = admission.admit(disk("sb-1", 500), () => promise);
		assert.deepEqual(await refusal(admission.admit(disk("sb-2", 500), launch)), {
			resource: "disk",
			available: 500,
			threshold: 600,
		});
		host.images = [{ name: "sb-1", sizeMiB: 500, allocatedMiB: 1 }];
		await admission.admit(disk("sb-2", 400), launch);
		resolve();
		await slow;
	});

	it("asks nothing of one that starts again on the upper that it has", () => {
		const limits = { cpuMillis: 1, memoryMiB: 1, swapMiB: 0, processes: 1, openFiles: 1, diskMiB: 64 };
		const sandbox = { id: "a", upper: "disk", limits } as const;
		assert.deepEqual(toNeed(sandbox, { keepsUpper: false }), { id: "a", diskMiB: 64, loopDevices: 1 });
		assert.deepEqual(toNeed(sandbox, { keepsUpper: true }), { id: "a", diskMiB: 0, loopDevices: 1 });
		assert.deepEqual(toNeed({ ...sandbox, upper: "tmpfs" }, { keepsUpper: false }), {
			id: "a",
			diskMiB: 0,
			loopDevices: 0,
		});
	});
});
