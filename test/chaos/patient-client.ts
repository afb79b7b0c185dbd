/**
 * A client that does not give up: it sends each call again until there is an answer, which is safe because it has chosen
 * the ids. What no client could do anything about is a violation.
 */
import { setTimeout as sleep } from "node:timers/promises";

/** Something that must never happen, whoever is killed when. */
export class Violation extends Error {
	override readonly name = "Violation";
}

export type Json = Readonly<Record<string, unknown>>;

export interface Call {
	readonly method: "GET" | "POST" | "DELETE";
	readonly path: string;
	readonly body?: Json;
	readonly accept?: "application/x-ndjson";
	/** Statuses that are an answer; others are a violation, unless the daemon says that they pass. */
	readonly expected: readonly number[];
}

export interface Answer {
	readonly status: number;
	readonly json: Json;
}

/** Far more than a daemon needs to start and to answer on a busy machine. */
const ANSWER_MS = 60_000;
const PATIENCE_MS = 180_000;
const PAUSE_MS = 50;

/** The codes of docs/errors.md that are marked as retryable. */
const RETRYABLE_CODES = ["resource_exhausted", "cancelled", "unavailable", "timeout"];

/** An attempt that failed in a way that a later one may not. */
class Interruption extends Error {
	override readonly name = "Interruption";
}

export class PatientClient {
	readonly #url: string;
	/** Calls that were sent again. */
	retries = 0;

	constructor(url: string) {
		this.#url = url;
	}

	/** The answer, with one of the expected statuses. */
	call(call: Call): Promise<Answer> {
		return this.#insist(
			() => call,
			async (response) => ({ status: response.status, json: parse(await response.text(), call) }),
		);
	}

	/**
	 * Gives each line of an NDJSON answer to `onEvent` until that says that it was the last. A stream that breaks is asked
	 * for again: `toCall` says where it goes on.
	 */
	stream(toCall: () => Call, onEvent: (event: Json) => boolean): Promise<void> {
		return this.#insist(toCall, async (response, call) => {
			for await (const line of linesOf(response)) {
				const event = parse(line, call);
				if (event.type === "error") throw toFailure(call, event, 200);
				if (onEvent(event)) return;
			}
			throw new Interruption("the stream ended before its last event");
		});
	}

	async #insist<T>(toCall: () => Call, read: (response: Response, call: Call) => Promise<T>): Promise<T> {
		const giveUpAt = Date.now() + PATIENCE_MS;
		for (;;) {
			const call = toCall();
			try {
				const response = await this.#send(call);
				if (call.expected.includes(response.status)) return await read(response, call);
				throw toFailure(call, parse(await response.text(), call), response.status);
			} catch (error) {
				if (error instanceof Violation) throw error;
				if (error instanceof DOMException && error.name === "TimeoutError")
					throw new Violation(`${nameOf(call)}: no answer within ${ANSWER_MS} ms`);
				if (Date.now() > giveUpAt) throw new Violation(`${nameOf(call)}: never answered: ${String(error)}`);
				this.retries++;
				await sleep(PAUSE_MS);
			}
		}
	}

	#send({ method, path, body, accept }: Call): Promise<Response> {
		return fetch(this.#url + path, {
			method,
			signal: AbortSignal.timeout(ANSWER_MS),
			headers: {
				...(accept && { accept }),
				...(body && { "content-type": "application/json" }),
			},
			...(body && { body: JSON.stringify(body) }),
		});
	}
}

/** What an answer that was not expected means. */
function toFailure(call: Call, answer: Json, status: number): Error {
	const told = `${nameOf(call)}: ${status} ${JSON.stringify(answer)}`;
	return RETRYABLE_CODES.includes(String(answer.code)) ? new Interruption(told) : new Violation(told);
}

function nameOf({ method, path, body }: Call): string {
	return `${method} ${path}${body ? ` ${JSON.stringify(body).slice(0, 200)}` : ""}`;
}

/** Of an answer that came whole; one that was cut does not get here. */
function parse(text: string, call: Call): Json {
	if (text === "") return {};
	try {
		return JSON.parse(text) as Json;
	} catch {
		throw new Violation(`${nameOf(call)}: not JSON: ${text.slice(0, 200)}`);
	}
}

/** Whole lines only: the last one may have been cut. */
async function* linesOf({ body }: Response): AsyncGenerator<string> {
	const decoder = new TextDecoder();
	let rest = "";
	for await (const chunk of body ?? []) {
		const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
		rest = lines.pop() ?? "";
		yield* lines.filter((line) => line !== "");
	}
}
