/** The user's terminal: raw while a program in a sandbox has it, and always given back. */
import type { TerminalSize } from "../../sdk/src/index.ts";

/** What programs get where there is no terminal to ask; the size of a VT100. */
const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

export function terminalSize(): TerminalSize {
	const { columns, rows } = process.stdout;
	return columns && rows ? { columns, rows } : DEFAULT_SIZE;
}

/** Calls back when the user's window changes. Returns the undo. */
export function onResize(listener: (size: TerminalSize) => void): () => void {
	const onChange = (): void => listener(terminalSize());
	process.stdout.on("resize", onChange);
	return () => process.stdout.off("resize", onChange);
}

/** Makes a program on a terminal draw itself anew: it hears of a size only when it has changed. */
export function redraw(resize: (size: TerminalSize) => void): void {
	const size = terminalSize();
	resize({ ...size, rows: size.rows > 1 ? size.rows - 1 : size.rows + 1 });
	resize(size);
}

/**
 * Makes stdin raw, when it is a terminal. Returns the undo, which may be called again, and which also runs
 * when the program ends in a way that nobody planned.
 */
export function enterRawMode(): () => void {
	const { stdin } = process;
	if (!stdin.isTTY) return () => undefined;
	const restore = (): void => {
		process.off("exit", restore);
		stdin.setRawMode(false);
	};
	process.on("exit", restore);
	stdin.setRawMode(true);
	return restore;
}
