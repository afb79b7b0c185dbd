/** Processes without a kernel, for tests of the API: programs are small scripts in TypeScript. */
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

/** What a fake program does; it is run when it is started, and its output waits until it is read. */
export type FakeProgram = (process: FakeProcess) => AsyncIterable<OutputChunk>;

export class FakeProcess implements RunningProcess {
	readonly id: string;
	readonly guestPid = 42;
	readonly request: StartProcess;
	readonly stdin: Buffer[] = [];
	readonly signals: string[] = [];
	readonly sizes: string[] = [];
	stdinClosed = false;
	detached = false;
	removed = false;
	/** Bytes that were asked for by the reader. */
	readBytes = 0;
	/** While set, writes to stdin wait. */
	stdinBlocked: Promise<void> | undefined;
	readonly #program: FakeProgram;
	readonly #exit = Promise.withResolvers<ProcessExit>();
	readonly #killed = Promise.withResolvers<void>();
	readonly #stdinEvents: (() => void)[] = [];

	constructor(id: string, request: StartProcess, program: FakeProgram) {
		this.id = id;
		this.request = request;
		this.#program = program;
	}

	get exited(): Promise<ProcessExit> {
		return this.#exit.promise;
	}

	get killed(): Promise<void> {
		return this.#killed.promise;
	}

	get isKilled(): boolean {
		return this.signals.includes("SIGKILL");
	}

	async *output(): AsyncGenerator<OutputChunk> {
		for await (const chunk of this.#program(this)) {
			if (this.isKilled) break;
			this.readBytes += chunk.data.length;
			yield chunk;
		}
		this.#exit.resolve(this.isKilled ? { ...EXITED, exitCode: 137, signal: "SIGKILL" } : EXITED);
	}

	async writeStdin(chunk: Uint8Array): Promise<void> {
		if (this.stdinClosed) throw new ShaleError("conflict", "stdin is closed");
		await this.stdinBlocked;
		this.stdin.push(Buffer.from(chunk));
		for (const wake of this.#stdinEvents.splice(0)) wake();
	}

	closeStdin(): void {
		this.stdinClosed = true;
		for (const wake of this.#stdinEvents.splice(0)) wake();
	}

	/** Resolves at the next write to stdin or its end. */
	stdinEvent(): Promise<void> {
		return new Promise((resolve) => this.#stdinEvents.push(resolve));
	}

	detach(): void {
		this.detached = true;
	}

	signal(signal: string): void {
		this.signals.push(signal);
		if (signal === "SIGKILL") this.#killed.resolve();
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
