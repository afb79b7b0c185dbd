/**
 * Whether the host has room for one more sandbox. What is left is read a few times a second; what was let in since then
 * is counted on top, so that a burst cannot slip through between two readings.
 */
import { ShaleError } from "../lib/errors.ts";
import type { Sandbox } from "./types.ts";

/** What must be left, or the most that may be. 0 switches a `min…` and `maxSandboxes` off, 100 a pressure. */
export interface Thresholds {
	readonly minFreeMemoryMiB: number;
	/** Of the data folder. Also what disk uppers have been promised and do not use yet must fit beside it. */
	readonly minFreeDiskMiB: number;
	readonly minFreeProcesses: number;
	/** Percent of the last 10 s in which all tasks waited for it. */
	readonly maxMemoryPressure: number;
	readonly maxIoPressure: number;
	/** Percent of the last 10 s in which some task waited for a CPU. */
	readonly maxCpuPressure: number;
	/** That run, or are on their way to it. */
	readonly maxSandboxes: number;
}

export interface UpperImage {
	/** The sandbox's id. */
	readonly name: string;
	readonly sizeMiB: number;
	readonly allocatedMiB: number;
}

/** How the host is read. Synchronous and cheap. */
export interface HostReadings {
	memoryMiB(): number;
	diskMiB(): number;
	/** Only asked for when a disk upper is wanted. */
	uppers(): readonly UpperImage[];
	processes(): number;
	loopDevices(): number;
	/** 0 to 100; undefined where the kernel does not say. */
	pressure(resource: "memory" | "io" | "cpu"): number | undefined;
}

/** What a sandbox takes as soon as it runs. */
export interface Need {
	readonly id: string;
	/** 0 unless a disk upper is to be made. */
	readonly diskMiB: number;
	readonly loopDevices: number;
}

/** Agent, kernel memory and the first program; what programs take later is between them and their limit. */
const SANDBOX_MEMORY_MIB = 4;
const SANDBOX_PROCESSES = 2;

/** @param keepsUpper the disk upper is there already, and was promised when it was made. */
export function toNeed(
	{ id, upper, limits }: Pick<Sandbox, "id" | "upper" | "limits">,
	{ keepsUpper }: { readonly keepsUpper: boolean },
): Need {
	const isDisk = upper === "disk";
	return { id, diskMiB: isDisk && !keepsUpper ? limits.diskMiB : 0, loopDevices: isDisk ? 1 : 0 };
}

export const SCARCE = [
	"memory",
	"disk",
	"processes",
	"loopDevices",
	"memoryPressure",
	"ioPressure",
	"cpuPressure",
	"sandboxes",
] as const;

export type ScarceResource = (typeof SCARCE)[number];

/** One that is short when less is available than the threshold. */
interface Measure {
	readonly resource: ScarceResource;
	readonly available: number;
	readonly threshold: number;
	/** What it is, with the unit, for people. */
	readonly what: string;
	readonly setting: keyof Thresholds | undefined;
}

export interface AdmissionOptions {
	readonly thresholds: Thresholds;
	readonly host: HostReadings;
	/** How many run or are on their way to it, with the one that asks. */
	readonly countSandboxes: () => number;
	/** For tests: ms that never go back. */
	readonly now?: () => number;
}

/** Lets everything in. */
export const UNLIMITED: Omit<AdmissionOptions, "countSandboxes"> = {
	thresholds: {
		minFreeMemoryMiB: 0,
		minFreeDiskMiB: 0,
		minFreeProcesses: 0,
		maxMemoryPressure: 100,
		maxIoPressure: 100,
		maxCpuPressure: 100,
		maxSandboxes: 0,
	},
	host: {
		memoryMiB: () => 0,
		diskMiB: () => 0,
		uppers: () => [],
		processes: () => 0,
		loopDevices: () => Number.POSITIVE_INFINITY,
		pressure: () => undefined,
	},
};

/** A reading serves for so long. */
const READING_MS = 250;

interface Readings {
	readonly memoryMiB: number;
	readonly diskMiB: number;
	readonly processes: number;
	/** Of those that are switched on and that the kernel tells. */
	readonly pressures: Readonly<Record<"memory" | "io" | "cpu", number | undefined>>;
}

export class Admission {
	readonly #options: AdmissionOptions;
	readonly #now: () => number;
	readonly #refusals = new Map<ScarceResource, number>();
	/** Launches under way. */
	readonly #pending = new Set<Need>();
	/** Launches that succeeded since the last reading, which did not see them. */
	#unseen: Need[] = [];
	#readings: Readings | undefined;
	#readAt = Number.NEGATIVE_INFINITY;

	constructor(options: AdmissionOptions) {
		this.#options = options;
		this.#now = options.now ?? (() => performance.now());
	}

	/** Runs the launch when there is room. @throws ShaleError `resource_exhausted` with what is short in its details. */
	async admit<T>(need: Need, launch: () => Promise<T>): Promise<T> {
		this.#refuseShortage(need);
		this.#pending.add(need);
		try {
			const launched = await launch();
			this.#unseen.push(need);
			return launched;
		} finally {
			this.#pending.delete(need);
		}
	}

	/** How often a launch was refused for want of this. */
	countRefusals(resource: ScarceResource): number {
		return this.#refusals.get(resource) ?? 0;
	}

	#refuseShortage(need: Need): void {
		const short = this.#measure(need).find(({ available, threshold }) => available < threshold);
		if (!short) return;
		const { resource, available, threshold, what, setting } = short;
		this.#refusals.set(resource, this.countRefusals(resource) + 1);
		throw new ShaleError(
			"resource_exhausted",
			`sandbox ${need.id}: the host has no room for it: ${what}${setting ? ` (${setting})` : ""}`,
			{
				hint: "Try again later, or destroy sandboxes that are not needed. docs/operations.md explains the thresholds.",
				details: { resource, available, threshold },
			},
		);
	}

	/** Those that are switched on, most telling first. */
	#measure(need: Need): readonly Measure[] {
		const { thresholds } = this.#options;
		const readings = this.#read();
		const launches = this.#pending.size + this.#unseen.length;
		return [
			...measureSandboxes(thresholds, this.#options.countSandboxes()),
			...measureMemory(thresholds, readings.memoryMiB - launches * SANDBOX_MEMORY_MIB),
			...this.#measureDisk(need, readings.diskMiB),
			...measureProcesses(thresholds, readings.processes - launches * SANDBOX_PROCESSES),
			...this.#measureLoopDevices(need),
			...measurePressures(thresholds, readings),
		];
	}

	#read(): Readings {
		if (this.#readings && this.#now() - this.#readAt < READING_MS) return this.#readings;
		const { host, thresholds } = this.#options;
		const { maxMemoryPressure, maxIoPressure, maxCpuPressure } = thresholds;
		this.#readings = {
			memoryMiB: host.memoryMiB(),
			diskMiB: host.diskMiB(),
			processes: host.processes(),
			pressures: {
				memory: maxMemoryPressure === 100 ? undefined : host.pressure("memory"),
				io: maxIoPressure === 100 ? undefined : host.pressure("io"),
				cpu: maxCpuPressure === 100 ? undefined : host.pressure("cpu"),
			},
		};
		this.#readAt = this.#now();
		this.#unseen = [];
		return this.#readings;
	}

	#measureDisk({ diskMiB }: Need, freeMiB: number): Measure[] {
		const { minFreeDiskMiB } = this.#options.thresholds;
		if (minFreeDiskMiB === 0) return [];
		const available = Math.floor(diskMiB === 0 ? freeMiB : freeMiB - this.#promisedMiB());
		const threshold = minFreeDiskMiB + diskMiB;
		const what =
			diskMiB === 0
				? `${available} MiB of disk are free, and ${minFreeDiskMiB} are kept`
				: `its disk upper may take ${diskMiB} MiB, and ${available} are neither in use nor promised to others, of which ${minFreeDiskMiB} are kept`;
		return [{ resource: "disk", available, threshold, what, setting: "minFreeDiskMiB" }];
	}

	/** What sparse images may still take. An image that is being made counts once, whether its file is there or not. */
	#promisedMiB(): number {
		const pending = new Map([...this.#pending].map(({ id, diskMiB }) => [id, diskMiB]));
		let promisedMiB = 0;
		for (const diskMiB of pending.values()) promisedMiB += diskMiB;
		for (const { name, sizeMiB, allocatedMiB } of this.#options.host.uppers()) {
			if (!pending.has(name)) promisedMiB += Math.max(0, sizeMiB - allocatedMiB);
		}
		return promisedMiB;
	}

	#measureLoopDevices({ loopDevices }: Need): Measure[] {
		if (loopDevices === 0) return [];
		const pending = [...this.#pending].reduce((sum, need) => sum + need.loopDevices, 0);
		const available = this.#options.host.loopDevices() - pending;
		const what = `${Math.max(0, available)} loop devices are free, and it needs ${loopDevices}`;
		return [{ resource: "loopDevices", available, threshold: loopDevices, what, setting: undefined }];
	}
}

function measureSandboxes({ maxSandboxes }: Thresholds, count: number): Measure[] {
	if (maxSandboxes === 0) return [];
	const available = Math.max(0, maxSandboxes - (count - 1));
	const what = `there are ${maxSandboxes} already, which is the most`;
	return [{ resource: "sandboxes", available, threshold: 1, what, setting: "maxSandboxes" }];
}

function measureMemory({ minFreeMemoryMiB: threshold }: Thresholds, available: number): Measure[] {
	if (threshold === 0) return [];
	const what = `${available} MiB of memory are available, and ${threshold} are kept`;
	return [{ resource: "memory", available, threshold, what, setting: "minFreeMemoryMiB" }];
}

function measureProcesses({ minFreeProcesses: threshold }: Thresholds, available: number): Measure[] {
	if (threshold === 0) return [];
	const what = `${available} processes can still be started, and ${threshold} are kept`;
	return [{ resource: "processes", available, threshold, what, setting: "minFreeProcesses" }];
}

/** What is available of a pressure is the time that is not lost to it. */
function measurePressures(thresholds: Thresholds, { pressures }: Readings): Measure[] {
	return (
		[
			["memoryPressure", "maxMemoryPressure", pressures.memory, "all programs wait for memory"],
			["ioPressure", "maxIoPressure", pressures.io, "all programs wait for the disk"],
			["cpuPressure", "maxCpuPressure", pressures.cpu, "programs wait for a CPU"],
		] as const
	).flatMap(([resource, setting, pressure, what]) => {
		const most = thresholds[setting];
		if (pressure === undefined) return [];
		const told = `${what} ${pressure} % of the time, and ${most} % is the most`;
		return [{ resource, available: 100 - pressure, threshold: 100 - most, what: told, setting }];
	});
}
