/** A process told as events: what NDJSON streams send, and between which they end. */
import type { OutputChunk, ProcessInfo } from "../sandbox/types.ts";
import type { AttachedProcess } from "./attached-process.ts";
import type { EventSource } from "./event-stream.ts";
import { OutputGaps } from "./output-gaps.ts";
import { OutputText } from "./output-text.ts";
import type { ProcessEvent } from "./schemas/processes.ts";

/** From the start to the exit. */
export function foregroundEvents(attached: AttachedProcess): EventSource {
	return { events: tellForeground(attached), cancel: () => attached.leave() };
}

async function* tellForeground(attached: AttachedProcess): AsyncGenerator<ProcessEvent> {
	const { id, guestPid } = attached.process;
	yield { type: "started", processId: id, guestPid };
	yield* tellFollowed(attached);
}

/** The output, and the exit. */
export function followEvents(attached: AttachedProcess): EventSource {
	return { events: tellFollowed(attached), cancel: () => attached.leave() };
}

async function* tellFollowed(attached: AttachedProcess): AsyncGenerator<ProcessEvent> {
	const output = new ToldOutput(attached);
	for (let chunk = await attached.next(); chunk; chunk = await attached.next()) yield* output.push(chunk);
	yield* output.flush();
	yield { type: "exit", ...(await attached.finish()) };
}

/** The ends of both streams, in bytes: where reading stops. */
type Ends = Pick<ProcessInfo, "stdoutEnd" | "stderrEnd">;

/** Of a running process: what is kept up to `ends`, and then `end`. */
export function keptEvents(attached: AttachedProcess, ends: Ends): EventSource {
	return { events: tellKept(attached, ends), cancel: () => attached.leave() };
}

async function* tellKept(attached: AttachedProcess, ends: Ends): AsyncGenerator<ProcessEvent> {
	const output = new ToldOutput(attached);
	const { stdoutOffset, stderrOffset } = attached.process.from;
	const reached = { stdout: stdoutOffset, stderr: stderrOffset };
	while (reached.stdout < ends.stdoutEnd || reached.stderr < ends.stderrEnd) {
		const chunk = await attached.next();
		if (!chunk) {
			// It ended while it was read.
			yield* output.flush();
			yield { type: "exit", ...(await attached.finish()) };
			return;
		}
		reached[chunk.stream] = chunk.offset + chunk.data.length;
		yield* output.push(chunk);
	}
	yield* output.flush();
	attached.leave();
	yield { type: "end" };
}

/** Chunks as text, with the gaps between them. */
class ToldOutput {
	readonly #text = new OutputText();
	readonly #gaps: OutputGaps;

	constructor({ expected }: AttachedProcess) {
		this.#gaps = new OutputGaps(expected);
	}

	push(chunk: OutputChunk): ProcessEvent[] {
		const gap = this.#gaps.before(chunk);
		if (!gap) return this.#text.push(chunk);
		// The rest of a character that was cut before the gap is in it.
		return [...this.#text.flush([chunk.stream]), gap, ...this.#text.push(chunk)];
	}

	flush(): ProcessEvent[] {
		return this.#text.flush();
	}
}
