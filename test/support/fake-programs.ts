/** The programs that the fake daemon runs. */
import { setImmediate } from "node:timers/promises";

/** One run of a program: what it can do, and what was done to it. */
export interface Run {
	readonly argv: readonly string[];
	write(stream: "stdout" | "stderr", data: string | Uint8Array): Promise<void>;
	exit(exitCode: number, signal?: string): void;
	fail(code: string, message: string): void;
	/** Ends the connection without a word. */
	cut(): void;
	onSignal: (signal: string) => void;
	onStdin: (data: Buffer | undefined) => void;
	isOver: boolean;
}

export const PROGRAMS: Readonly<Record<string, (run: Run) => unknown>> = {
	/** Writes its arguments, as echo(1). */
	async echo(run) {
		await run.write("stdout", `${run.argv.slice(1).join(" ")}\n`);
		run.exit(0);
	},
	/** Writes bytes: `bytes stdout HEX stderr HEX …`. */
	async bytes(run) {
		for (let index = 1; index < run.argv.length; index += 2) {
			const stream = run.argv[index] === "stderr" ? "stderr" : "stdout";
			await run.write(stream, Buffer.from(run.argv[index + 1] ?? "", "hex"));
		}
		run.exit(0);
	},
	exit: (run) => run.exit(Number(run.argv[1])),
	crash: (run) => run.exit(137, "SIGKILL"),
	cut: (run) => run.cut(),
	fail: (run) => run.fail("unavailable", "the agent does not answer"),
	/** Says which signals come, and ends at the second or at SIGKILL. */
	async wait(run) {
		let count = 0;
		run.onSignal = async (signal) => {
			count++;
			await run.write("stdout", `${signal}\n`);
			if (signal === "SIGKILL") run.exit(137, signal);
			else if (count === 2 || run.argv[1] === "once") run.exit(130, signal);
		};
		await run.write("stdout", "waiting\n");
	},
	/** Writes 64 KiB pieces until its client is gone. */
	async flood(run) {
		while (!run.isOver) {
			await run.write("stdout", Buffer.alloc(65_536, "y\n"));
			// A write to a client that is gone returns at once; its "close" must get its turn.
			await setImmediate();
		}
	},
	/** Writes what it reads. */
	cat(run) {
		let writing = Promise.resolve();
		run.onStdin = (data) => {
			writing = writing.then(() => (data ? run.write("stdout", data) : run.exit(0)));
		};
	},
	/** Sixteen MiB of a pattern that shows lost or swapped pieces. */
	async large(run) {
		for (let piece = 0; piece < 256; piece++) await run.write("stdout", largePiece(piece));
		run.exit(0);
	},
};

export function largePiece(piece: number): Buffer {
	return Buffer.alloc(65_536, Buffer.from([piece, 0xff, 0x0a, piece ^ 0x55]));
}
