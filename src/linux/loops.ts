/** Loop devices and the files behind them, as /sys tells; needs no privilege. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { errnoCode } from "../lib/errors.ts";

export interface Loop {
	/** Such as `/dev/loop3`. */
	readonly device: string;
	/** Where its file was when it was attached; the file itself may be removed by now. */
	readonly backingHostPath: string;
}

export async function listLoops(sysPath = "/sys"): Promise<Loop[]> {
	const blockPath = join(sysPath, "block");
	const loops: Loop[] = [];
	for (const name of await readdir(blockPath)) {
		if (!name.startsWith("loop")) continue;
		const file = await readBackingFile(join(blockPath, name, "loop/backing_file"));
		if (file !== "")
			loops.push({ device: `/dev/${name}`, backingHostPath: file.replace(/ \(deleted\)$/, "") });
	}
	return loops;
}

/** A device that is not attached has no such file. */
async function readBackingFile(hostPath: string): Promise<string> {
	try {
		return (await readFile(hostPath, "utf8")).replace(/\n$/, "");
	} catch (error) {
		if (["ENOENT", "ENXIO", "ENODEV"].includes(errnoCode(error) ?? "")) return "";
		throw error;
	}
}
