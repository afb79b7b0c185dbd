/** Requests as tests make them, and answers held against their schemas. */
import assert from "node:assert/strict";
import type { z } from "zod";
import { errorBody } from "../schemas/daemon.ts";

export function postJson(value: unknown, headers: Readonly<Record<string, string>> = {}) {
	return {
		method: "POST",
		body: JSON.stringify(value),
		headers: { "content-type": "application/json", ...headers },
	};
}

/** The JSON of an answer, which must have this status and nothing that its schema does not have. */
export async function expectJson(response: Response, status: number, schema: z.ZodType): Promise<unknown> {
	const body: unknown = await response.json();
	assert.equal(response.status, status, JSON.stringify(body));
	assert.match(response.headers.get("content-type") ?? "", /^application\/json/);
	assert.deepEqual(schema.parse(body), body);
	return body;
}

export interface ToldError {
	readonly code: string;
	readonly message: string;
	readonly hint?: string;
	readonly details?: Readonly<Record<string, unknown>>;
}

export async function expectError(response: Response, status: number): Promise<ToldError> {
	return (await expectJson(response, status, errorBody)) as ToldError;
}

/** The events of an NDJSON answer, each held against the schema of a line. */
export async function expectEvents(
	response: Response,
	schema: z.ZodType,
): Promise<Record<string, unknown>[]> {
	const text = await response.text();
	assert.equal(response.status, 200, text);
	assert.equal(response.headers.get("content-type"), "application/x-ndjson");
	assert.ok(text.endsWith("\n"));
	const events = text
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line) as Record<string, unknown>);
	for (const event of events) assert.deepEqual(schema.parse(event), event);
	return events;
}

/** Asks again until it holds; fails after two seconds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
	for (let tries = 0; tries < 200; tries++) {
		if (holds()) return;
		await new Promise((resolve) => setTimeout(resolve, 10));
	}
	assert.fail(`it never came to: ${what}`);
}
