/** `shale doctor`: what this machine can do, what is missing, and how to fix it. Needs no daemon but for leaks. */
import { styleText } from "node:util";
import type { Command } from "commander";
import type { DoctorReport } from "../../../sdk/src/index.ts";
import { addOutputOption, type OutputFlags, verbCommand } from "../options.ts";
import { print, printJson } from "../output.ts";

export function command(): Command {
	const verb = verbCommand(
		"doctor",
		"Checks what this machine can do; exits with 1 when sandboxes cannot run.",
	);
	verb.option("--leaks", "list instead what no sandbox owns; exits with 1 when there is any");
	return addOutputOption(verb).action(async (flags: OutputFlags & { readonly leaks?: true }) => {
		if (flags.leaks) return await reportLeaks(flags);
		const [{ doctor }, { readConfig }] = await Promise.all([
			import("../../daemon/doctor.ts"),
			import("../../daemon/config.ts"),
		]);
		const report = await doctor(await readConfig());
		if (flags.output === "json") await printJson(report);
		else await print(toText(report));
		if (!report.ready) process.exitCode = 1;
	});
}

async function reportLeaks({ output }: OutputFlags): Promise<void> {
	const [{ connectToRunning }, { toResourceTable }] = await Promise.all([
		import("../connect.ts"),
		import("./gc.ts"),
	]);
	const { removed: leaks } = await (await connectToRunning()).gc({ dryRun: true });
	if (output === "json") await printJson({ leaks });
	else await print(leaks.length === 0 ? "Nothing has leaked.\n" : toResourceTable(leaks));
	if (leaks.length > 0) process.exitCode = 1;
}

export function toText({ checks, ready }: DoctorReport): string {
	const width = Math.max(0, ...checks.map(({ name }) => name.length));
	const lines = checks.flatMap(({ name, ok, detail, fix }) => [
		`${ok ? styleText("green", "✓") : styleText("red", "✗")} ${name.padEnd(width)}  ${detail}`,
		...(fix && !ok ? [`${" ".repeat(width + 4)}fix: ${fix}`] : []),
	]);
	const verdict = ready ? "This machine is ready." : "This machine is not ready yet.";
	return `${[...lines, verdict].join("\n")}\n`;
}
