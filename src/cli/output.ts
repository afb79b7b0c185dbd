/** Writing to stdout and stderr: every byte is out before the verb goes on, and a closed pipe is a quiet end. */
import { errnoCode } from "../lib/errors.ts";

/** Whoever read our stdout has gone, as `| head` does. */
export class OutputClosedError extends Error {
	override readonly name = "OutputClosedError";
}

/** As a shell reports a program that SIGPIPE ended: 128 + 13. */
export const OUTPUT_CLOSED_EXIT_CODE = 141;

/** Resolves when the system has taken the bytes. @throws OutputClosedError */
export async function writeOutput(stream: "stdout" | "stderr", data: string | Uint8Array): Promise<void> {
	const target = process[stream];
	// The callback below reports errors; without a listener the event would end the program as well.
	if (target.listenerCount("error") === 0) target.on("error", () => undefined);
	await new Promise<void>((resolve, reject) => {
		target.write(data, (error) => {
			if (!error) resolve();
			else reject(errnoCode(error) === "EPIPE" ? new OutputClosedError(`${stream} is closed`) : error);
		});
	});
}

export async function print(text: string): Promise<void> {
	await writeOutput("stdout", text);
}

export async function printJson(value: unknown): Promise<void> {
	await print(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** One line for people, on stderr, after `shale: `. */
export async function notice(text: string): Promise<void> {
	await writeOutput("stderr", `shale: ${text}\n`);
}
