/** The progress of a build, on stderr: a bar that redraws itself on a terminal, a line a step elsewhere. */
import type { BuildProgress } from "../../sdk/src/index.ts";
import { writeOutput } from "./output.ts";
import { toPrintable } from "./table.ts";

const BAR_WIDTH = 24;
const CLEAR_LINE = "\r\u001b[2K";

export class ProgressView {
	readonly #name: string;
	readonly #isTerminal: boolean;
	#lastLine = "";

	constructor(name: string, { isTerminal }: { readonly isTerminal: boolean }) {
		this.#name = name;
		this.#isTerminal = isTerminal;
	}

	show(progress: BuildProgress): void {
		const line = this.#isTerminal ? toBar(this.#name, progress) : toLine(this.#name, progress);
		if (line === this.#lastLine) return;
		this.#lastLine = line;
		const text = this.#isTerminal
			? CLEAR_LINE + line.slice(0, (process.stderr.columns ?? 80) - 1)
			: `${line}\n`;
		// Progress that cannot be shown is no reason to stop building.
		writeOutput("stderr", text).catch(() => undefined);
	}

	/** Takes the bar away, so that what follows starts on a clean line. */
	end(): void {
		if (this.#isTerminal) writeOutput("stderr", CLEAR_LINE).catch(() => undefined);
	}
}

/** Without the percentage, which would make a line of each change. */
function toLine(name: string, { step }: BuildProgress): string {
	return toPrintable(`${name}: ${step}`);
}

export function toBar(name: string, { step, percent, message }: BuildProgress): string {
	const what = `${step}${message ? `: ${message}` : ""}`;
	// An empty bar would look like a step that starts again.
	if (percent === undefined) return toPrintable(`${name} ${what} …`);
	const known = Math.min(100, Math.max(0, percent));
	const filled = Math.round((known / 100) * BAR_WIDTH);
	const bar = `${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)}`;
	return toPrintable(`${name} ${bar} ${`${Math.round(known)}%`.padStart(4)} ${what}`);
}
