/** From the words after `shale` to a verb, and from how it ended to an exit code. */
import { packageVersion } from "../lib/package-root.ts";
import { print } from "./output.ts";
import { VERBS, type VerbEntry } from "./verbs.ts";

/** Runs a command line to its end and returns the exit code. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
	let verb: VerbEntry | undefined;
	try {
		const [name = "help", ...rest] = args;
		if (name === "--version" || name === "-V" || (name === "version" && rest.length === 0)) {
			await print(`shale ${packageVersion()}\n`);
			return 0;
		}
		if (name === "help" || name === "--help" || name === "-h") return await help(rest);
		verb = VERBS.find((entry) => entry.name === name);
		if (!verb) throw await unknownVerb(name);
		return await runVerb(verb, rest);
	} catch (error) {
		const { report } = await import("./report.ts");
		return await report(error, verb);
	}
}

async function runVerb(verb: VerbEntry, args: readonly string[]): Promise<number> {
	const { command } = await verb.load();
	const separator = verb.runsProgram ? args.indexOf("--") : -1;
	if (separator === -1) await command().parseAsync(args, { from: "user" });
	else await command(args.slice(separator + 1)).parseAsync(args.slice(0, separator), { from: "user" });
	return Number(process.exitCode ?? 0);
}

async function help([name]: readonly string[]): Promise<number> {
	if (name === undefined) {
		await print(overview());
		return 0;
	}
	const verb = VERBS.find((entry) => entry.name === name);
	if (!verb) throw await unknownVerb(name);
	return await runVerb(verb, ["--help"]);
}

function overview(): string {
	const width = Math.max(...VERBS.map(({ name }) => name.length));
	return [
		"Usage: shale VERB [options]",
		"",
		"Sandboxes from stacked read-only layers, on this machine.",
		"",
		...VERBS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
		"",
		"shale VERB --help tells more. For example: shale run -- python3 -c 'print(6*7)'",
		"",
	].join("\n");
}

async function unknownVerb(name: string): Promise<Error> {
	const [{ ShaleError }, { nearest }] = await Promise.all([
		import("../lib/errors.ts"),
		import("./nearest.ts"),
	]);
	const suggestion = nearest(
		name,
		VERBS.map((verb) => verb.name),
	);
	return new ShaleError("invalid_argument", `there is no verb "${name}"`, {
		hint: suggestion ? `Did you mean: shale ${suggestion}` : "shale help lists the verbs.",
	});
}
