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

/** In silence a line is sent this often: proxies keep the connection, and both sides find out when it is dead. */
export const KEEPALIVE_MS = 15_000;

const NDJSON_HEADERS = {
	"content-type": "application/x-ndjson",
	"cache-control": "no-store",
	"x-content-type-options": "nosniff",
	// Reverse proxies must not collect it either.
	"x-accel-buffering": "no",
} as const;

/** `keepaliveMs` is for tests. */
export function ndjsonReply(
	source: EventSource,
	log: Log,
	{ doing, keepaliveMs = KEEPALIVE_MS }: { readonly doing: string; readonly keepaliveMs?: number },
): Response {
	let ended = false;
	const next = withKeepalive(source.events, keepaliveMs);
	const body = new ReadableStream<Uint8Array>(
		{
			async pull(controller) {
				let line: object;
				try {
					const { done, value } = await next();
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

/** The next event, or `keepalive` when none comes in time; the event is then the answer to a later call. */
function withKeepalive(events: AsyncIterator<object>, keepaliveMs: number) {
	let pending: Promise<IteratorResult<object>> | undefined;
	return async (): Promise<IteratorResult<object>> => {
		pending ??= events.next();
		let timer: NodeJS.Timeout | undefined;
		const silence = new Promise<undefined>((resolve) => {
			timer = setTimeout(resolve, keepaliveMs, undefined);
		});
		try {
			const result = await Promise.race([pending, silence]);
			if (!result) return { done: false, value: { type: "keepalive" } };
			pending = undefined;
			return result;
		} finally {
			clearTimeout(timer);
		}
	};
}

export function toErrorEvent(error: unknown, log: Log, doing: string) {
	return { type: "error" as const, ...toErrorBody(error, log, doing) };
}

function encodeLine(event: object): Uint8Array {
	return Buffer.from(`${JSON.stringify(event)}\n`, "utf8");
}
