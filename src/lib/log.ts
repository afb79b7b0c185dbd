/** The log: one JSON object a line on stderr, made by pino. Level by SHALE_LOG (trace … fatal, silent). */
import { destination, type Logger, pino } from "pino";

export type Log = Logger;

export function createLog(level: string): Log {
	return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination(2));
}
