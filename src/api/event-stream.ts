/**
 * NDJSON answers: one JSON object a line, sent as it comes. The next event is asked for only when the client has
 * taken the last ones, so a slow client slows the source, and memory stays at about one event.
 */
import type { Log } from "../lib/log.ts";
import { toErrorBody } from "./replies.ts";

export interface EventSource {
	/** A thrown error becomes the last event, `{"type":"error", …}`. */
	readonly events: AsyncIterator<object>;
	/**
	 * The client is gone, or `events` has thrown. Called at most once, also while `events.next()` waits; the iterator
	 * is not asked again.
	 */
	cancel(): void;
}

const NDJSON_HEADERS = {
	"content-type": "application/x-ndjson",
	"cache-control": "no-store",
	"x-content-type-options": "nosniff",
	// Reverse proxies must not collect it either.
	"x-accel-buffering": "no",
} as const;

export function ndjsonReply(source: EventSource, log: Log, doing: string): Response {
	let ended = false;
	const body = new ReadableStream<Uint8Array>(
		{
			async pull(controller) {
				let line: object;
				try {
					const { done, value } = await source.events.next();
					if (ended) return;
					if (done) {
						ended = true;
						controller.close();
						return;
					}
					line = value;
				} catch (error) {
					if (ended) return;
					ended = true;
					source.cancel();
					controller.enqueue(encodeLine(toErrorEvent(error, log, doing)));
					controller.close();
					return;
				}
				controller.enqueue(encodeLine(line));
			},
			cancel() {
				if (ended) return;
				ended = true;
				source.cancel();
			},
		},
		{ highWaterMark: 0 },
	);
	return new Response(body, { status: 200, headers: NDJSON_HEADERS });
}

export function toErrorEvent(error: unknown, log: Log, doing: string) {
	const { code, message, hint } = toErrorBody(error, log, doing);
	return { type: "error" as const, code, message, ...(hint === undefined ? {} : { hint }) };
}

function encodeLine(event: object): Uint8Array {
	return Buffer.from(`${JSON.stringify(event)}\n`, "utf8");
}
