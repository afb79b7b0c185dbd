/**
 * A process as one client's connection sees it. Output is read one chunk at a time, as fast as the client takes it;
 * that is the back-pressure.
 */
import type { AttachProcess, OutputChunk, ProcessExit, RunningProcess } from "../sandbox/types.ts";
import type { ExpectedOffsets } from "./output-gaps.ts";

export interface AttachedProcess {
	readonly process: RunningProcess;
	readonly expected: ExpectedOffsets;
	/** The next chunk, or undefined at the end. One caller at a time. */
	next(): Promise<OutputChunk | undefined>;
	/** After the last chunk: how it ended. */
	finish(): Promise<ProcessExit>;
	/** The client is gone. May be called at any time, and again. */
	leave(): void;
}

/** A process that lives by itself: its client's going away changes nothing. */
export class FollowedProcess implements AttachedProcess {
	readonly process: RunningProcess;
	readonly expected: ExpectedOffsets;
	readonly #output: AsyncIterator<OutputChunk>;

	constructor(process: RunningProcess, asked: AttachProcess) {
		this.process = process;
		// Whoever asks for the newest bytes misses nothing before them.
		this.expected =
			asked.tailBytes === undefined
				? { stdout: asked.stdoutOffset ?? 0, stderr: asked.stderrOffset ?? 0 }
				: { stdout: undefined, stderr: undefined };
		this.#output = process.output()[Symbol.asyncIterator]();
		// Whoever awaits it sees the failure; when nobody does, it must not end the daemon.
		process.exited.catch(() => undefined);
	}

	async next(): Promise<OutputChunk | undefined> {
		const { done, value } = await this.#output.next();
		return done ? undefined : value;
	}

	finish(): Promise<ProcessExit> {
		return this.process.exited;
	}

	leave(): void {
		this.process.detach();
	}
}
