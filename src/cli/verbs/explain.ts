/** `shale explain`: the plan that a sandbox was, or would be, made from. */
import type { Command } from "commander";
import { ShaleError } from "../../lib/errors.ts";
import { connect, withSandbox } from "../connect.ts";
import { addSandboxOptions, type SandboxFlags, toCreateSandbox, verbCommand } from "../options.ts";
import { print } from "../output.ts";

export function command(): Command {
	const verb = verbCommand(
		"explain",
		"Prints the plan of a sandbox, or of one with these options; makes nothing.",
	)
		.usage("SANDBOX | [options]")
		.argument("[sandbox]", "id or name of a sandbox");
	return addSandboxOptions(verb).action(async (idOrName: string | undefined, flags: SandboxFlags) => {
		if (idOrName !== undefined && Object.keys(flags).length > 0) {
			throw new ShaleError("invalid_argument", "explain takes either a sandbox or options for a new one");
		}
		const shale = await connect();
		const plan =
			idOrName === undefined
				? await shale.sandboxes.plan(toCreateSandbox(flags))
				: await withSandbox(shale, idOrName, (sandbox) => sandbox.plan());
		await print(plan.endsWith("\n") ? plan : `${plan}\n`);
	});
}
