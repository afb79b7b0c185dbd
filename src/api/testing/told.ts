/** A client of the WebSocket routes that notes all that it is told. */
import { WebSocket } from "ws";
import { interactiveEvent } from "../schemas/processes.ts";

/** What a client has been told, in order. */
export interface Told {
	readonly socket: WebSocket;
	readonly events: {
		readonly type: string;
		readonly code?: string;
		readonly message?: string;
		readonly exitCode?: number;
		readonly offset?: number;
		readonly stdinOffset?: number;
		readonly details?: Record<string, unknown>;
	}[];
	readonly outputs: { stream: number; offset: number; data: Buffer }[];
	closeCode: number | undefined;
}

export function listen(url: string, path: string, headers: Readonly<Record<string, string>> = {}): Told {
	const socket = new WebSocket(url.replace("http", "ws") + path, { headers });
	const told: Told = { socket, events: [], outputs: [], closeCode: undefined };
	socket.on("message", (data: Buffer, isBinary) => {
		if (isBinary) {
			const offset = Number(data.readBigUInt64BE(1));
			told.outputs.push({ stream: data.readUInt8(0), offset, data: data.subarray(9) });
		} else told.events.push(parseEvent(data.toString()));
	});
	socket.on("close", (code) => {
		told.closeCode = code;
	});
	socket.on("error", () => undefined);
	return told;
}

/** Held against its schema. */
function parseEvent(text: string): Told["events"][number] {
	return interactiveEvent.parse(JSON.parse(text)) as Told["events"][number];
}
