/** How a verb's failure is told: `shale: message`, `hint: …`, an exit code. No stack traces. */
import { CommanderError } from "commander";
import { ShaleApiError, ShaleConnectionError } from "../../sdk/src/index.ts";
import { ERRORS, type ErrorCode, ShaleError, toShaleError } from "../lib/errors.ts";
import { InterruptedError } from "./interrupts.ts";
import { OUTPUT_CLOSED_EXIT_CODE, OutputClosedError, writeOutput } from "./output.ts";
import type { VerbEntry } from "./verbs.ts";

/** Exit code of `run` and `exec` when Shale, not the program, failed; as `docker run` and env(1) have it. */
const SHALE_FAILED_EXIT_CODE = 125;

interface Failure {
	readonly code: ErrorCode;
	readonly message: string;
	readonly hint?: string | undefined;
}

/** Prints the error and returns the exit code. Never throws. */
export async function report(error: unknown, verb: VerbEntry | undefined): Promise<number> {
	if (error instanceof OutputClosedError) return OUTPUT_CLOSED_EXIT_CODE;
	if (error instanceof InterruptedError) return error.exitCode;
	if (error instanceof CommanderError && error.exitCode === 0) return 0;
	const { code, message, hint } = toFailure(error, verb);
	const lines = [`shale: ${message}`, ...(hint ? [`hint: ${hint}`] : [])];
	// Nobody can be told that stderr is closed.
	await writeOutput("stderr", `${lines.join("\n")}\n`).catch(() => undefined);
	return verb?.runsProgram ? SHALE_FAILED_EXIT_CODE : ERRORS[code].exitCode;
}

function toFailure(error: unknown, verb: VerbEntry | undefined): Failure {
	if (error instanceof ShaleError || error instanceof ShaleApiError) return error;
	if (error instanceof ShaleConnectionError) return { code: "unavailable", message: error.message };
	if (error instanceof CommanderError) {
		// What commander calls this is its name for printing the help to stderr.
		const reason = error.code === "commander.help" ? "say what to do" : error.message;
		return {
			code: "invalid_argument",
			message: `${verb?.name}: ${reason.replace(/^error: /, "").replaceAll("\n", " ")}`,
			hint: `shale ${verb?.name} --help lists the options.`,
		};
	}
	return toShaleError(error);
}
