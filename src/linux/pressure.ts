/** Pressure stall information: how much of the last seconds tasks lost by waiting. Linux' Documentation/accounting/psi.rst. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoCode } from "../lib/errors.ts";

export type PressureResource = "cpu" | "memory" | "io";

/** Percent of the last 10 s. */
export interface Pressure {
	/** In which at least one task waited. */
	readonly some: number;
	/** In which all tasks that had something to do waited. Always 0 for the cpu of a whole host. */
	readonly full: number;
}

/** Undefined on a kernel without it, or with it switched off. */
export function readPressure(
	resource: PressureResource,
	{ procPath = "/proc" }: { readonly procPath?: string } = {},
): Pressure | undefined {
	let text: string;
	try {
		text = readFileSync(join(procPath, "pressure", resource), "utf8");
	} catch (error) {
		if (["ENOENT", "EOPNOTSUPP"].includes(errnoCode(error) ?? "")) return undefined;
		throw error;
	}
	const average = (kind: string) =>
		Number(new RegExp(`^${kind} avg10=(\\d+\\.\\d+)`, "m").exec(text)?.[1] ?? 0);
	return { some: average("some"), full: average("full") };
}
