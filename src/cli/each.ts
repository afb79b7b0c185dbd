/** The same for several sandboxes, as users name them. */
import type { Sandbox, Shale } from "../../sdk/src/index.ts";
import { withSandbox } from "./connect.ts";
import { print } from "./output.ts";
import { report } from "./report.ts";

/** Each is tried, and its id printed when it is done; the exit code is that of the first failure. */
export async function doEach(
	shale: Shale,
	names: readonly string[],
	action: (sandbox: Sandbox) => Promise<unknown>,
): Promise<void> {
	for (const name of names) {
		try {
			const id = await withSandbox(shale, name, async (sandbox) => {
				await action(sandbox);
				return sandbox.id;
			});
			await print(`${id}\n`);
		} catch (error) {
			const exitCode = await report(error, undefined);
			process.exitCode ||= exitCode;
		}
	}
}
