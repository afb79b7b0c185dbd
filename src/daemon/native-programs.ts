/** Where the built native parts are. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ShaleError } from "../lib/errors.ts";
import { packageRoot } from "../lib/package-root.ts";

export interface NativePrograms {
	readonly jailer: string;
	readonly agent: string;
	/** A squashfs image that holds nothing, for trying what the kernel can do. */
	readonly emptyImage: string;
}

/** @throws ShaleError `unsupported` when they were not built. */
export function findNativePrograms(): NativePrograms {
	const folder = join(packageRoot(), "native/build");
	const programs: NativePrograms = {
		jailer: join(folder, "jailer"),
		agent: join(folder, "agent"),
		emptyImage: join(folder, "empty.squashfs"),
	};
	for (const hostPath of Object.values(programs)) {
		if (existsSync(hostPath)) continue;
		throw new ShaleError("unsupported", `${hostPath} is missing: the native part was not built`, {
			hint: "Run `npm run build`.",
		});
	}
	return programs;
}
