/** From the events of the wire to those of the client: output as bytes, every shape checked. */
import { ShaleConnectionError } from "./errors.ts";
import type { DroppedOutput, ProcessEvent, ProcessExit } from "./types.ts";

type WireEvent = Readonly<Record<string, unknown>>;

const encoder = new TextEncoder();

/** The event types that end a process's stream. */
export const LAST_EVENTS = ["exit", "end"] as const;

/** Undefined for an event of a newer daemon, which is to be skipped. @throws ShaleConnectionError */
export function toProcessEvent(event: WireEvent): ProcessEvent | undefined {
	switch (event.type) {
		case "started":
			return {
				type: "started",
				processId: textField(event, "processId"),
				guestPid: numberField(event, "guestPid"),
			};
		case "stdout":
		case "stderr":
			return {
				type: "output",
				stream: event.type,
				offset: numberField(event, "offset"),
				data: toBytes(event),
			};
		case "dropped":
			return { type: "dropped", ...toDroppedOutput(event) };
		case "exit":
			return { type: "exit", ...toProcessExit(event) };
		case "end":
			return { type: "end" };
		default:
			return undefined;
	}
}

export function toProcessExit(event: WireEvent): ProcessExit {
	return {
		exitCode: numberField(event, "exitCode"),
		signal: typeof event.signal === "string" ? event.signal : null,
		timedOut: event.timedOut === true,
		userTimeMs: numberField(event, "userTimeMs"),
		systemTimeMs: numberField(event, "systemTimeMs"),
		maxRssKiB: numberField(event, "maxRssKiB"),
	};
}

export function toDroppedOutput(event: WireEvent): DroppedOutput {
	const { stream } = event;
	if (stream !== "stdout" && stream !== "stderr") throw malformed(event, "stream");
	return { stream, offset: numberField(event, "offset"), bytes: numberField(event, "bytes") };
}

function toBytes(event: WireEvent): Uint8Array {
	if (typeof event.text === "string") return encoder.encode(event.text);
	return fromBase64(textField(event, "base64"));
}

export function textField(event: WireEvent, name: string): string {
	const value = event[name];
	if (typeof value !== "string") throw malformed(event, name);
	return value;
}

export function numberField(event: WireEvent, name: string): number {
	const value = event[name];
	if (typeof value !== "number" || !(value >= 0)) throw malformed(event, name);
	return value;
}

function malformed(event: WireEvent, name: string): ShaleConnectionError {
	return new ShaleConnectionError(`the daemon sent a "${String(event.type)}" event without a proper ${name}`);
}

export function toBase64(bytes: Uint8Array): string {
	let binary = "";
	for (let start = 0; start < bytes.length; start += 8192) {
		binary += String.fromCharCode(...bytes.subarray(start, start + 8192));
	}
	return btoa(binary);
}

function fromBase64(text: string): Uint8Array {
	// Node and Bun have Buffer, which is many times as fast.
	if (typeof globalThis.Buffer === "function") return Buffer.from(text, "base64");
	return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
