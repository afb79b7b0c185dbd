/** A process told as events: what NDJSON streams send, and between which they end. */
import type { OutputChunk, ProcessInfo, RunningProcess } from "../sandbox/types.ts";
import type { EventSource } from "./event-stream.ts";
import type { ForegroundProcess } from "./foreground-process.ts";
import { OutputText } from "./output-text.ts";
import type { ProcessEvent } from "./schemas/processes.ts";

/** From the start to the exit; its client's going away kills it. */
export function foregroundEvents(foreground: ForegroundProcess): EventSource {
	return { events: tellForeground(foreground), cancel: () => void foreground.abandon() };
}

async function* tellForeground(foreground: ForegroundProcess): AsyncGenerator<ProcessEvent> {
	const { id, guestPid } = foreground.process;
	yield { type: "started", processId: id, guestPid };
	const text = new OutputText();
	for (let chunk = await foreground.next(); chunk; chunk = await foreground.next()) yield* text.push(chunk);
	yield* text.flush();
	yield { type: "exit", ...(await foreground.finish()) };
}

/** The output of a process that lives by itself, and its exit; its client's going away changes nothing. */
export function followEvents(process: RunningProcess): EventSource {
	process.exited.catch(() => undefined);
	return { events: tellFollowed(process), cancel: () => process.detach() };
}

async function* tellFollowed(process: RunningProcess): AsyncGenerator<ProcessEvent> {
	const text = new OutputText();
	for await (const chunk of process.output()) yield* text.push(chunk);
	yield* text.flush();
	yield { type: "exit", ...(await process.exited) };
}

/** The ends of both streams, in bytes: where reading stops. */
type Ends = Pick<ProcessInfo, "stdoutEnd" | "stderrEnd">;

/** Of a running process: what is kept up to `ends`, and then `end`. */
export function keptEvents(
	process: RunningProcess,
	from: Readonly<Record<OutputChunk["stream"], number>>,
	ends: Ends,
): EventSource {
	process.exited.catch(() => undefined);
	return { events: tellKept(process, { ...from }, ends), cancel: () => process.detach() };
}

async function* tellKept(
	process: RunningProcess,
	reached: Record<OutputChunk["stream"], number>,
	{ stdoutEnd, stderrEnd }: Ends,
): AsyncGenerator<ProcessEvent> {
	const text = new OutputText();
	const chunks = process.output()[Symbol.asyncIterator]();
	while (reached.stdout < stdoutEnd || reached.stderr < stderrEnd) {
		const { done, value } = await chunks.next();
		if (done) {
			// It ended while it was read.
			yield* text.flush();
			yield { type: "exit", ...(await process.exited) };
			return;
		}
		reached[value.stream] = value.offset + value.data.length;
		yield* text.push(value);
	}
	yield* text.flush();
	process.detach();
	yield { type: "end" };
}
