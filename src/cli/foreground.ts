/**
 * A program in a sandbox as if it ran here: its output to ours byte for byte, our signals to it, its exit code
 * as ours. A stream of events does, and its back-pressure reaches the program; stdin and a terminal need a
 * WebSocket session.
 */
import {
	type ProcessExit,
	type ProcessOptions,
	type Sandbox,
	ShaleConnectionError,
} from "../../sdk/src/index.ts";
import { type Interrupt, InterruptedError, type Interrupts } from "./interrupts.ts";
import { NOTICES, toDroppedText } from "./notices.ts";
import type { ProgramFlags } from "./options.ts";
import { notice, writeOutput } from "./output.ts";
import { StdinForwarder } from "./stdin.ts";
import { enterRawMode, onResize, terminalSize } from "./terminal.ts";

export interface ForegroundProgram {
	readonly sandbox: Sandbox;
	readonly argv: readonly string[];
	readonly options: ProcessOptions;
	readonly flags: Pick<ProgramFlags, "interactive" | "tty">;
	readonly interrupts: Interrupts;
}

export function needsSession({ interactive, tty }: Pick<ProgramFlags, "interactive" | "tty">): boolean {
	return interactive === true || tty === true;
}

/** Runs it to its end and returns its exit code. Its process group is killed when this throws. */
export async function runInForeground(program: ForegroundProgram): Promise<number> {
	const exit = needsSession(program.flags) ? await runSession(program) : await runStream(program);
	return exit.exitCode;
}

async function runStream({ sandbox, argv, options, interrupts }: ForegroundProgram): Promise<ProcessExit> {
	const abort = new AbortController();
	let processId: string | undefined;
	const forward = forwarder(abort, async (signal) => {
		// Before the start there is nobody to heed it.
		if (processId === undefined) abort.abort(new InterruptedError(signal));
		else await sandbox.processes.signal(processId, signal);
	});
	return await interrupts.during(forward, async () => {
		const { onConnection } = NOTICES;
		const events = sandbox.commands.stream(argv, { ...options, onConnection, signal: abort.signal });
		for await (const event of events) {
			if (event.type === "started") processId = event.processId;
			else if (event.type === "dropped") await notice(toDroppedText(event));
			else if (event.type === "output") await writeOutput(event.stream, event.data);
			else if (event.type === "exit") return event;
		}
		throw new ShaleConnectionError("the daemon ended the program's output without its exit");
	});
}

async function runSession(program: ForegroundProgram): Promise<ProcessExit> {
	const { sandbox, argv, options, flags, interrupts } = program;
	const abort = new AbortController();
	const session = await sandbox.commands.open(argv, {
		...options,
		...NOTICES,
		stdin: flags.interactive,
		terminal: flags.tty ? terminalSize() : undefined,
		signal: AbortSignal.any([interrupts.signal, abort.signal]),
	});
	const forward = forwarder(abort, async (signal) => session.signal(signal));
	const undos: (() => void)[] = [() => session.close()];
	try {
		if (flags.tty) undos.push(onResize((size) => session.resize(size)));
		if (flags.interactive) {
			const stdin = new StdinForwarder(session);
			undos.push(() => stdin.stop());
		}
		if (flags.interactive && flags.tty) undos.push(enterRawMode());
		return await interrupts.during(forward, async () => {
			for await (const { stream, data } of session.output()) await writeOutput(stream, data);
			return await session.exited;
		});
	} finally {
		for (const undo of undos.reverse()) undo();
	}
}

/**
 * The first signal goes to the program; a second one kills it, as it did not heed the first; with a third the user
 * stops waiting for a daemon that does not tell the end.
 */
function forwarder(
	abort: AbortController,
	send: (signal: Interrupt | "SIGKILL") => Promise<void>,
): (signal: Interrupt) => void {
	let count = 0;
	return (signal) => {
		count++;
		if (count > 2) abort.abort(new InterruptedError(signal));
		// A program that has just ended cannot be signalled; that the connection is lost, its stream tells.
		else send(count === 1 ? signal : "SIGKILL").catch(() => undefined);
	};
}
