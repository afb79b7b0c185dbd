/** Signal numbers and names, signal(7). */
import { constants } from "node:os";
import { ShaleError } from "../lib/errors.ts";

const NUMBERS: Readonly<Record<string, number>> = constants.signals;
/** SIGABRT and SIGIOT, SIGIO and SIGPOLL share a number; the first is the usual name, so it is set last. */
const NAMES: ReadonlyMap<number, string> = new Map(
	Object.entries(NUMBERS)
		.reverse()
		.map(([name, number]) => [number, name]),
);

/** `SIGKILL` for 9; `SIG34` for one without a name. */
export function signalName(number: number): string {
	return NAMES.get(number) ?? `SIG${number}`;
}

/** Accepts `SIGTERM` and `TERM`; throws `invalid_argument` for anything else. */
export function parseSignal(name: string): number {
	const number = NUMBERS[name.startsWith("SIG") ? name : `SIG${name}`];
	if (number !== undefined) return number;
	throw new ShaleError("invalid_argument", `signal: "${name}" is not a signal`, {
		hint: "Use a name such as SIGTERM or KILL.",
	});
}
