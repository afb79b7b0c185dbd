/** The log: one JSON object a line on stderr, made by pino. Level by SHALE_LOG (trace … fatal, silent). */
import { fstatSync, ftruncateSync, writeSync } from "node:fs";
import { type Logger, pino } from "pino";
import { MIB } from "./units.ts";

export type Log = Logger;

export interface LogOptions {
	/** For tests: where it goes, and when a file is begun anew. Defaults: stderr, and 64 MiB. */
	readonly fd?: number;
	readonly maxFileBytes?: number;
}

const STDERR = 2;
const MAX_FILE_BYTES = 64 * MIB;

export function createLog(
	level: string,
	{ fd = STDERR, maxFileBytes = MAX_FILE_BYTES }: LogOptions = {},
): Log {
	const file = new LogFile(fd, maxFileBytes);
	return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, file);
}

/** stat(2): st_blocks counts 512 bytes. */
const STAT_BLOCK_BYTES = 512;

/** Lines that cannot be written are lost, and a file does not grow without end: a log must not be what ends the daemon. */
class LogFile {
	readonly #fd: number;
	readonly #maxBytes: number;
	/** Since the size was last looked at. */
	#writtenBytes = 0;

	constructor(fd: number, maxBytes: number) {
		this.#fd = fd;
		this.#maxBytes = maxBytes;
	}

	write(line: string): void {
		try {
			this.#writtenBytes += writeSync(this.#fd, line);
			if (this.#writtenBytes * 16 > this.#maxBytes) this.#beginAnew();
		} catch {
			// The disk is full or the reader has gone, and there is nowhere to say so.
		}
	}

	#beginAnew(): void {
		this.#writtenBytes = 0;
		const stats = fstatSync(this.#fd);
		// By its blocks: a file that was opened without O_APPEND keeps its size, as a hole.
		if (stats.isFile() && stats.blocks * STAT_BLOCK_BYTES > this.#maxBytes) ftruncateSync(this.#fd);
	}
}
