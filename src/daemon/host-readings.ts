/** How admission reads this host. */
import {
	readAvailableMemoryMiB,
	readFreeDiskMiB,
	readFreeLoopDevices,
	readFreeProcesses,
	readImages,
} from "../linux/host-resources.ts";
import { readPressure } from "../linux/pressure.ts";
import type { HostReadings } from "../sandbox/admission.ts";
import { type Config, daemonPaths } from "./config.ts";

export function hostReadings(config: Pick<Config, "data" | "run">): HostReadings {
	const { uppers } = daemonPaths(config);
	return {
		memoryMiB: readAvailableMemoryMiB,
		diskMiB: () => readFreeDiskMiB(config.data),
		uppers: () => readImages(uppers),
		processes: readFreeProcesses,
		loopDevices: readFreeLoopDevices,
		pressure(resource) {
			const pressure = readPressure(resource);
			// All CPUs are never idle and waited for at once: of a whole host there is only `some`.
			return resource === "cpu" ? pressure?.some : pressure?.full;
		},
	};
}
