/** A program whose output and exit are known beforehand, and what has come of them. */
import { type Json, Violation } from "./patient-client.ts";
import type { Random } from "./random.ts";

/** Where each run notes that it was started, so that one that ran twice is seen. */
export const RUNS_GUEST_PATH = "/runs";

/** It notes its id, prints to both streams, waits, prints again, and exits. */
const SCRIPT = `echo "$1" >> ${RUNS_GUEST_PATH}
for round in 1 2; do
	[ "$2" = 0 ] || seq 1 "$2"
	[ "$3" = 0 ] || seq 1 "$3" >&2
	sleep "$4"
done
exit "$5"`;

/** The largest is 700 KB in both rounds: the agent keeps 1 MiB of each stream while nobody reads. */
const LINES = [0, 1, 50, 3000, 60_000] as const;
const PAUSES_S = [0, 0, 0.05, 0.3, 1] as const;

export interface KnownProgram {
	readonly id: string;
	readonly argv: readonly string[];
	readonly stdout: string;
	readonly stderr: string;
	readonly exitCode: number;
}

export function createProgram(id: string, random: Random): KnownProgram {
	const [out, err, pause] = [random.pick(...LINES), random.pick(...LINES), random.pick(...PAUSES_S)];
	const exitCode = random.integer(0, 125);
	return {
		id,
		argv: ["sh", "-c", SCRIPT, "known", id, String(out), String(err), String(pause), String(exitCode)],
		stdout: count(out).repeat(2),
		stderr: count(err).repeat(2),
		exitCode,
	};
}

/** As seq(1) prints it. */
function count(lines: number): string {
	return Array.from({ length: lines }, (_, index) => `${index + 1}\n`).join("");
}

/** What has come of a program's output and exit; throws a Violation for what is wrong, lost or torn. */
export class SeenRun {
	readonly #program: KnownProgram;
	readonly #lengths = { stdout: 0, stderr: 0 };

	constructor(program: KnownProgram) {
		this.#program = program;
	}

	/** Where to read on. */
	get lengths(): Readonly<Record<"stdout" | "stderr", number>> {
		return this.#lengths;
	}

	/** One event of its output; what came before may come again. Returns whether it was the exit. */
	take(event: Json): boolean {
		if (event.type === "stdout" || event.type === "stderr") {
			const data =
				"text" in event ? Buffer.from(String(event.text)) : Buffer.from(String(event.base64), "base64");
			this.#takeBytes(event.type, Number(event.offset), data);
			return false;
		}
		if (event.type === "exit") {
			this.finish(event);
			return true;
		}
		if (event.type === "dropped" || event.type === "end") this.#fail(`an event ${JSON.stringify(event)}`);
		return false;
	}

	/** The whole of both streams, and the exit. */
	finish({ exitCode, signal, timedOut }: Json): void {
		const isRight = exitCode === this.#program.exitCode && signal === null && timedOut === false;
		if (!isRight) this.#fail(`it ended with ${JSON.stringify({ exitCode, signal, timedOut })}`);
		for (const stream of ["stdout", "stderr"] as const) {
			const missing = this.#program[stream].length - this.#lengths[stream];
			if (missing !== 0) this.#fail(`${missing} bytes of ${stream} are missing`);
		}
	}

	/** A captured answer, in base64. */
	finishCaptured(answer: Json): void {
		if (answer.truncated !== false) this.#fail("its output is truncated");
		for (const stream of ["stdout", "stderr"] as const) {
			this.#takeBytes(stream, 0, Buffer.from(String(answer[stream]), "base64"));
		}
		this.finish(answer);
	}

	#takeBytes(stream: "stdout" | "stderr", offset: number, data: Buffer): void {
		const known = this.#lengths[stream];
		if (offset > known) this.#fail(`${offset - known} bytes of ${stream} from ${known} on were left out`);
		const expected = this.#program[stream].slice(offset, offset + data.length);
		if (data.toString("latin1") !== expected) this.#fail(`wrong bytes of ${stream} from ${offset} on`);
		this.#lengths[stream] = Math.max(known, offset + data.length);
	}

	#fail(what: string): never {
		throw new Violation(`run ${this.#program.id} (expected exit ${this.#program.exitCode}): ${what}`);
	}
}
