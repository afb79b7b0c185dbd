/** Processes without a kernel, for tests of the API: programs are small scripts in TypeScript. */
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { ShaleError } from "../../lib/errors.ts";
import type { OutputChunk, ProcessExit, RunningProcess, StartProcess } from "../../sandbox/types.ts";

export const EXITED: ProcessExit = {
	exitCode: 0,
	signal: null,
	timedOut: false,
	userTimeMs: 1.5,
	systemTimeMs: 0.5,
	maxRssKiB: 1024,
};

/** What a fake program does. It runs from its start on, held up by readers that hold it. */
export type FakeProgram = (process: FakeProcess) => AsyncIterable<OutputChunk>;

/** Of output that a holding reader has not taken; beyond, the program waits. */
const WINDOW_BYTES = 256 * 1024;

/** How long a program that nobody holds waits between two pieces: it runs freely, but not as fast as it can. */
const PACE_MS = 1;

/** A process, as the sandbox has it: it outlives its readers and the API. */
export class FakeProcess {
	readonly id: string;
	readonly guestPid = 42;
	readonly request: StartProcess;
	readonly stdin: Buffer[] = [];
	readonly signals: string[] = [];
	readonly sizes: string[] = [];
	/** Of each stream. */
	ringBytes = 1024 * 1024;
	stdinClosed = false;
	detached = false;
	removed = false;
	/** Output that the program has written. */
	readBytes = 0;
	/** While set, writes to stdin wait. */
	stdinBlocked: Promise<void> | undefined;
	readonly chunks: OutputChunk[] = [];
	readonly ends = { stdout: 0, stderr: 0 };
	readonly readers = new Set<FakeReader>();
	exit: ProcessExit | undefined;
	readonly #killed = Promise.withResolvers<void>();
	readonly #stdinEvents: (() => void)[] = [];
	readonly #outputEvents: (() => void)[] = [];

	constructor(id: string, request: StartProcess, program: FakeProgram) {
		this.id = id;
		this.request = request;
		// The first reader is attached in the same breath.
		void Promise.resolve().then(() => this.#run(program));
	}

	get killed(): Promise<void> {
		return this.#killed.promise;
	}

	get isKilled(): boolean {
		return this.signals.includes("SIGKILL");
	}

	get stdinEnd(): number {
		return this.stdin.reduce((sum, { length }) => sum + length, 0);
	}

	/** Offset of the oldest byte that is kept. */
	start(stream: OutputChunk["stream"]): number {
		return this.chunks.find((chunk) => chunk.stream === stream)?.offset ?? this.ends[stream];
	}

	async writeStdin(chunk: Uint8Array): Promise<void> {
		if (this.request.stdin !== true) throw new ShaleError("conflict", "it has no stdin");
		if (this.stdinClosed) throw new ShaleError("conflict", "stdin is closed");
		await this.stdinBlocked;
		this.stdin.push(Buffer.from(chunk));
		wakeAll(this.#stdinEvents);
	}

	closeStdin(): void {
		this.stdinClosed = true;
		wakeAll(this.#stdinEvents);
	}

	/** Resolves at the next write to stdin or its end. */
	stdinEvent(): Promise<void> {
		return new Promise((resolve) => this.#stdinEvents.push(resolve));
	}

	/** Resolves when there is more output, the end, or a reader that has read or left. */
	outputEvent(): Promise<void> {
		return new Promise((resolve) => this.#outputEvents.push(resolve));
	}

	wake(): void {
		wakeAll(this.#outputEvents);
	}

	signal(signal: string): void {
		this.signals.push(signal);
		if (signal !== "SIGKILL") return;
		this.#killed.resolve();
		this.wake();
	}

	/** As when the daemon is killed: nobody reads any more, and nobody is told. */
	loseReaders(): void {
		for (const reader of this.readers) reader.detach();
	}

	async #run(program: FakeProgram): Promise<void> {
		try {
			for await (const chunk of program(this)) {
				if (this.isKilled) break;
				this.#keep(chunk);
				this.wake();
				await this.#pace();
				if (this.isKilled) break;
			}
			this.exit = this.isKilled ? { ...EXITED, exitCode: 137, signal: "SIGKILL" } : EXITED;
		} catch (error) {
			for (const reader of this.readers) reader.fail(error);
			this.exit = EXITED;
		}
		this.wake();
	}

	#keep(chunk: OutputChunk): void {
		this.chunks.push(chunk);
		this.ends[chunk.stream] = chunk.offset + chunk.data.length;
		this.readBytes += chunk.data.length;
		while (this.ends[chunk.stream] - this.start(chunk.stream) > this.ringBytes) {
			this.chunks.splice(
				this.chunks.findIndex(({ stream }) => stream === chunk.stream),
				1,
			);
		}
	}

	async #pace(): Promise<void> {
		const isHeldUp = () => [...this.readers].some(({ hold, lag }) => hold && lag > WINDOW_BYTES);
		while (isHeldUp() && !this.isKilled) await this.outputEvent();
		await (this.readers.size > 0 ? nextTurn() : sleep(PACE_MS));
	}
}

function wakeAll(sleepers: (() => void)[]): void {
	for (const wake of sleepers.splice(0)) wake();
}

/** One reader of a process. */
export class FakeReader implements RunningProcess {
	readonly from: { readonly stdoutOffset: number; readonly stderrOffset: number };
	readonly hold: boolean;
	readonly exited: Promise<ProcessExit>;
	readonly #process: FakeProcess;
	readonly #next: Record<OutputChunk["stream"], number>;
	readonly #exit = Promise.withResolvers<ProcessExit>();
	#failure: { readonly error: unknown } | undefined;
	#isDetached = false;

	constructor(process: FakeProcess, from: FakeReader["from"], { hold }: { readonly hold: boolean }) {
		this.#process = process;
		this.from = from;
		this.hold = hold;
		this.#next = { stdout: from.stdoutOffset, stderr: from.stderrOffset };
		this.exited = this.#exit.promise;
		process.readers.add(this);
	}

	get id(): string {
		return this.#process.id;
	}

	get guestPid(): number {
		return this.#process.guestPid;
	}

	/** Bytes that it has not read yet. */
	get lag(): number {
		const { ends } = this.#process;
		return ends.stdout + ends.stderr - this.#next.stdout - this.#next.stderr;
	}

	async *output(): AsyncGenerator<OutputChunk> {
		const process = this.#process;
		while (!this.#isDetached) {
			const chunk = process.chunks.find(
				({ stream, offset, data }) => offset + data.length > this.#next[stream],
			);
			if (chunk) {
				const { stream, data } = chunk;
				const offset = Math.max(chunk.offset, this.#next[stream]);
				this.#next[stream] = chunk.offset + data.length;
				process.wake();
				yield { stream, offset, data: data.subarray(offset - chunk.offset) };
			} else if (this.#failure) {
				throw this.#failure.error;
			} else if (process.exit) {
				process.readers.delete(this);
				// Without an id of the client's it is transient.
				if (process.request.id === undefined) process.removed = true;
				this.#exit.resolve(process.exit);
				return;
			} else await process.outputEvent();
		}
	}

	writeStdin(chunk: Uint8Array): Promise<void> {
		return this.#process.writeStdin(chunk);
	}

	closeStdin(): void {
		this.#process.closeStdin();
	}

	fail(error: unknown): void {
		this.#failure = { error };
		this.#exit.reject(error);
	}

	detach(): void {
		this.#isDetached = true;
		this.#process.detached = true;
		this.#process.readers.delete(this);
		this.#process.wake();
	}
}

export function chunk(stream: "stdout" | "stderr", offset: number, data: string | Uint8Array): OutputChunk {
	return { stream, offset, data: Buffer.from(data as string) };
}

/** Programs by argv[0]. */
export const PROGRAMS: Readonly<Record<string, FakeProgram>> = {
	async *echo({ request }) {
		yield chunk("stdout", 0, `${request.argv.slice(1).join(" ")}\n`);
	},
	/** Output without end, 64 KiB at a time, as fast as it is read. */
	async *flood() {
		const data = Buffer.alloc(64 * 1024, "y\n");
		for (let offset = 0; ; offset += data.length) yield { stream: "stdout", offset, data };
	},
	/** A line every 10 ms: `tick COUNT`. */
	async *tick({ request, killed }) {
		let offset = 0;
		for (let count = 0; count < Number(request.argv[1]); count++) {
			const line = chunk("stdout", offset, `tick ${count}\n`);
			offset += line.data.length;
			yield line;
			await Promise.race([sleep(10), killed]);
		}
	},
	async *sleep({ killed }) {
		await killed;
		yield* [];
	},
	async *cat(process) {
		for (let at = 0, offset = 0; ; ) {
			const data = process.stdin[at];
			if (data) {
				yield { stream: "stdout", offset, data };
				offset += data.length;
				at++;
			} else if (process.stdinClosed || process.isKilled) return;
			else await Promise.race([process.stdinEvent(), process.killed]);
		}
	},
	/** Writes, and then stays. */
	async *greet({ killed }) {
		yield chunk("stdout", 0, "héllo");
		yield chunk("stderr", 0, Buffer.from([0xff, 0x00]));
		await killed;
	},
	async *break() {
		yield chunk("stdout", 0, "part");
		throw new Error("secret: /var/lib/shale/x");
	},
};
