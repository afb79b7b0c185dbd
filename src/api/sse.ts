/**
 * Server-sent events (HTML standard, section 9.2), sent as they come. The next event is asked for only when the client
 * has taken the last one: a slow client slows the source, and memory stays at about one event. A client that takes
 * nothing for a minute is hung up on; one that has left is noticed at once.
 */
import type { Log } from "../lib/log.ts";
import { toErrorBody } from "./replies.ts";
import { type ApiContext, findIncoming } from "./route.ts";

export interface ServerSentEvent {
	/** What the client gives back as `Last-Event-ID`. */
	readonly id?: string | undefined;
	/** One word. */
	readonly event: string;
	/** Sent as JSON. */
	readonly data: object;
}

export interface SseSource {
	/** Its end is told as an event `end`, a thrown error as an event `error`. */
	readonly events: AsyncIterator<ServerSentEvent>;
	/**
	 * The client is gone or was hung up on, or `events` has thrown. Called at most once, also while `events.next()`
	 * waits; the iterator is not asked again.
	 */
	cancel(): void;
}

export interface SseOptions {
	/** Of the request that is answered. */
	readonly context: ApiContext;
	readonly log: Log;
	/** What goes on, for the log of an error. */
	readonly doing: string;
	/** A comment is sent after so much silence, so that proxies keep the connection. Default 15,000. */
	readonly keepAliveMs?: number;
	/** A client that does not take what waits for it is hung up on after this time. Default 60,000. */
	readonly stallMs?: number;
}

const KEEP_ALIVE_MS = 15_000;
const STALL_MS = 60_000;

const SSE_HEADERS = {
	"content-type": "text/event-stream; charset=utf-8",
	"cache-control": "no-store",
	"x-content-type-options": "nosniff",
	// Reverse proxies must not collect it either.
	"x-accel-buffering": "no",
} as const;

/** Answers before the first event comes. */
export function sseReply(source: SseSource, options: SseOptions): Response {
	const stream = new SseStream(source, options);
	return new Response(
		new ReadableStream<Uint8Array>(
			{
				pull: (controller) => stream.pull(controller),
				cancel: () => stream.end(),
			},
			{ highWaterMark: 0 },
		),
		{ status: 200, headers: SSE_HEADERS },
	);
}

/** What came of asking the source. */
type Outcome = { readonly result: IteratorResult<ServerSentEvent> } | { readonly error: unknown };

class SseStream {
	readonly #source: SseSource;
	readonly #options: SseOptions;
	#isAsked = false;
	#outcome: Outcome | undefined;
	#wake: () => void = () => undefined;
	#stall: NodeJS.Timeout | undefined;
	#isOver = false;

	constructor(source: SseSource, options: SseOptions) {
		this.#source = source;
		this.#options = options;
	}

	/** Called when the client has taken all that was sent. Sends one event, or a comment after a long silence. */
	async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
		clearTimeout(this.#stall);
		if (!this.#isAsked) this.#ask();
		const outcome = await this.#outcomeOrSilence();
		if (this.#isOver) return;
		const { stallMs = STALL_MS } = this.#options;
		this.#stall = setTimeout(() => this.#hangUp(controller), stallMs).unref();
		if (outcome === undefined) return send(controller, ": still here\n\n");
		this.#isAsked = false;
		this.#outcome = undefined;
		if ("result" in outcome && !outcome.result.done) return send(controller, encode(outcome.result.value));
		if ("error" in outcome) this.#source.cancel();
		this.#isOver = true;
		clearTimeout(this.#stall);
		send(controller, encode(this.#toLast(outcome)));
		controller.close();
	}

	/** Asks for no more. May be called again. */
	end(): void {
		if (this.#isOver) return;
		this.#isOver = true;
		clearTimeout(this.#stall);
		this.#wake();
		this.#source.cancel();
	}

	#hangUp(controller: ReadableStreamDefaultController<Uint8Array>): void {
		this.end();
		const incoming = findIncoming(this.#options.context);
		// Nothing that is said now would be read.
		if (incoming) incoming.socket.destroy();
		else controller.error(new Error("the reader took nothing for too long"));
	}

	#ask(): void {
		const note = (outcome: Outcome) => {
			this.#outcome = outcome;
			this.#wake();
		};
		this.#isAsked = true;
		this.#source.events.next().then(
			(result) => note({ result }),
			(error: unknown) => note({ error }),
		);
	}

	/** Undefined when none has come for a while. */
	async #outcomeOrSilence(): Promise<Outcome | undefined> {
		if (this.#outcome) return this.#outcome;
		const { keepAliveMs = KEEP_ALIVE_MS } = this.#options;
		await new Promise<void>((resolve) => {
			const timer = setTimeout(resolve, keepAliveMs).unref();
			this.#wake = () => {
				clearTimeout(timer);
				resolve();
			};
		});
		return this.#outcome;
	}

	#toLast(outcome: Outcome): ServerSentEvent {
		if (!("error" in outcome)) return { event: "end", data: {} };
		const { log, doing } = this.#options;
		return { event: "error", data: toErrorBody(outcome.error, log, doing) };
	}
}

function send(controller: ReadableStreamDefaultController<Uint8Array>, text: string): void {
	controller.enqueue(Buffer.from(text, "utf8"));
}

function encode({ id, event, data }: ServerSentEvent): string {
	return `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
