/**
 * The user at a process that lives by itself: its output here, our keys and window size there. The process outlives
 * us, our connection and the daemon; leaving it is not ending it.
 */
import type { CommandSession, ProcessInfo, Sandbox } from "../../sdk/src/index.ts";
import { InterruptedError, Interrupts } from "./interrupts.ts";
import { NOTICES } from "./notices.ts";
import { notice, writeOutput } from "./output.ts";
import { StdinForwarder } from "./stdin.ts";
import { toShellWords } from "./table.ts";
import { enterRawMode, onResize, redraw } from "./terminal.ts";

export interface AttachedOptions {
	readonly sandbox: Sandbox;
	readonly info: ProcessInfo;
	/** It was started for us: the end of our stdin is the end of its, and it knows our window already. */
	readonly isOwn: boolean;
	/** Only look: no keys, no size. */
	readonly isReadOnly: boolean;
	/** Of each stream, what is shown of what came before. Default: all that is kept. */
	readonly tailBytes?: number;
}

/** Resolves with the exit code: that of the process, 0 when the user left it by its keys, 128 + N after a signal. */
export async function runAttached(options: AttachedOptions): Promise<number> {
	const { sandbox, info, isReadOnly, tailBytes: tail } = options;
	using interrupts = new Interrupts();
	const session = await sandbox.processes.attach(info.id, {
		...NOTICES,
		stdin: !isReadOnly && info.stdinEnd !== null,
		tail,
		// The user decides how long: by the keys, or by a signal.
		reconnectMs: Number.POSITIVE_INFINITY,
		signal: interrupts.signal,
	});
	const left = Promise.withResolvers<number>();
	let hasLeft = false;
	const leave = (exitCode: number): void => {
		hasLeft = true;
		left.resolve(exitCode);
	};
	const undos = [() => session.close(), ...attachTerminal(session, options, () => leave(0))];
	let exitCode: number;
	try {
		exitCode = await interrupts.during(
			(signal) => leave(new InterruptedError(signal).exitCode),
			() => Promise.race([show(session), left.promise]),
		);
	} finally {
		for (const undo of undos.reverse()) undo();
	}
	if (hasLeft) await tellHowToReturn(options);
	return exitCode;
}

/** Returns the undos. */
function attachTerminal(
	session: CommandSession,
	{ info, isOwn, isReadOnly }: AttachedOptions,
	onDetach: () => void,
): (() => void)[] {
	if (isReadOnly) return [];
	const undos: (() => void)[] = [];
	const resize: CommandSession["resize"] = (size) => session.resize(size);
	if (info.terminal && process.stdout.isTTY) {
		if (!isOwn) redraw(resize);
		undos.push(onResize(resize));
	}
	if (info.stdinEnd === null) return undos;
	const hasKeys = info.terminal && process.stdin.isTTY;
	const stdin = new StdinForwarder(session, {
		closes: isOwn,
		...(hasKeys ? { onDetach } : {}),
	});
	undos.push(() => stdin.stop());
	if (hasKeys) undos.push(enterRawMode());
	return undos;
}

async function show(session: CommandSession): Promise<number> {
	for await (const { stream, data } of session.output()) await writeOutput(stream, data);
	return (await session.exited).exitCode;
}

async function tellHowToReturn({ sandbox, info }: AttachedOptions): Promise<void> {
	const line = toShellWords(["shale", "attach", sandbox.id, info.id]);
	await notice(`detached; ${info.id} runs on. Attach again with: ${line}`).catch(() => undefined);
}
