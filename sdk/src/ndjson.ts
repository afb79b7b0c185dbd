/** Lines of JSON from a stream of bytes, one at a time, with a cap: what arrives is never trusted to end. */
import { ShaleConnectionError } from "./errors.ts";

/**
 * The longest line taken. The daemon cuts output at 64 KiB, which JSON's escapes can make six times as long;
 * a layer's manifest is the longest line it sends.
 */
export const MAX_LINE_BYTES = 4 * 1024 * 1024;

const NEWLINE = 0x0a;

/**
 * The values of a stream of newline-delimited JSON. Blank lines, which keep an idle stream alive, are skipped.
 * Leaving the loop early cancels the stream.
 * @throws ShaleConnectionError on a line over `maxLineBytes` or one that is not a JSON object.
 */
export async function* readNdjson(
	body: AsyncIterable<Uint8Array>,
	{ maxLineBytes = MAX_LINE_BYTES }: { readonly maxLineBytes?: number } = {},
): AsyncGenerator<Readonly<Record<string, unknown>>> {
	for await (const line of readLines(body, maxLineBytes)) {
		if (line.trim() !== "") yield parseObject(line);
	}
}

/** The lines of a text, without their ends. @throws ShaleConnectionError on one over `maxLineBytes` */
export async function* readLines(
	body: AsyncIterable<Uint8Array>,
	maxLineBytes: number = MAX_LINE_BYTES,
): AsyncGenerator<string> {
	const decoder = new TextDecoder();
	let parts: Uint8Array[] = [];
	let partBytes = 0;
	const takeLine = (): string => {
		const text = parts.map((part) => decoder.decode(part, { stream: true })).join("") + decoder.decode();
		parts = [];
		partBytes = 0;
		return text;
	};
	const keep = (part: Uint8Array): void => {
		partBytes += part.byteLength;
		if (partBytes > maxLineBytes) {
			throw new ShaleConnectionError(`a line of the daemon's answer is longer than ${maxLineBytes} bytes`);
		}
		if (part.byteLength > 0) parts.push(part);
	};
	for await (const chunk of body) {
		let start = 0;
		for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
			keep(chunk.subarray(start, end));
			start = end + 1;
			yield takeLine();
		}
		keep(chunk.subarray(start));
	}
	if (partBytes > 0) yield takeLine();
}

/** @throws ShaleConnectionError when it is none. */
export function parseObject(line: string): Readonly<Record<string, unknown>> {
	let value: unknown;
	try {
		value = JSON.parse(line);
	} catch (cause) {
		throw new ShaleConnectionError(`the daemon sent a line that is not JSON: ${line.slice(0, 80)}`, {
			cause,
		});
	}
	if (typeof value !== "object" || value === null || Array.isArray(value)) {
		throw new ShaleConnectionError(`the daemon sent a line that is not an object: ${line.slice(0, 80)}`);
	}
	return value as Readonly<Record<string, unknown>>;
}
