/** Routes of background processes. */
import { ShaleError, toShaleError } from "../../lib/errors.ts";
import type { Sandboxes } from "../../sandbox/types.ts";
import { FollowedProcess } from "../attached-process.ts";
import { ndjsonReply } from "../event-stream.ts";
import { toAttachProcess } from "../interactive-exec.ts";
import { followEvents, keptEvents } from "../process-events.ts";
import { jsonReply } from "../replies.ts";
import { readStream } from "../request-body.ts";
import { defineRoute, type Route } from "../route.ts";
import {
	attachQuery,
	outputQuery,
	processEvent,
	processInfo,
	processList,
	resizeRequest,
	signalRequest,
	startProcess,
	stdinQuery,
} from "../schemas/processes.ts";

const tag = "Processes";

export const PROCESS_ROUTES: readonly Route[] = [
	defineRoute({
		name: "startProcess",
		method: "POST",
		path: "/v1/sandboxes/{id}/processes",
		tag,
		summary: "Start a process in the background",
		description: [
			"It outlives the request. The newest 1 MiB of each output stream is kept for later readers. The same request",
			"again, under an `id` of the client's, starts nothing and answers with 200.",
		].join(" "),
		body: startProcess,
		reply: { status: 201, description: "The process.", json: processInfo },
		handle: async ({ daemon: { sandboxes }, params, body }) => {
			const isKnown = body.id !== undefined && (await hasProcess(sandboxes, params.id, body.id));
			const info = await sandboxes.startDetached(params.id, body);
			return isKnown ? jsonReply(200, info) : info;
		},
	}),
	defineRoute({
		name: "listProcesses",
		method: "GET",
		path: "/v1/sandboxes/{id}/processes",
		tag,
		summary: "List the processes of a sandbox",
		description:
			"Those that were started through Shale: running ones, and finished ones that are still kept.",
		reply: { status: 200, description: "All of them.", json: processList },
		handle: async ({ daemon, params }) => ({
			processes: [...(await daemon.sandboxes.listProcesses(params.id))],
		}),
	}),
	defineRoute({
		name: "getProcess",
		method: "GET",
		path: "/v1/sandboxes/{id}/processes/{pid}",
		tag,
		summary: "Inspect a process",
		reply: { status: 200, description: "The process.", json: processInfo },
		handle: ({ daemon, params }) => daemon.sandboxes.getProcess(params.id, params.pid),
	}),
	defineRoute({
		name: "removeProcess",
		method: "DELETE",
		path: "/v1/sandboxes/{id}/processes/{pid}",
		tag,
		summary: "Forget a finished process",
		description: "Its kept output goes with it. A running one is a `conflict`: signal it first.",
		reply: { status: 204, description: "It is forgotten." },
		handle: async ({ daemon, params }) => {
			await daemon.sandboxes.removeProcess(params.id, params.pid);
			return undefined;
		},
	}),
	defineRoute({
		name: "signalProcess",
		method: "POST",
		path: "/v1/sandboxes/{id}/processes/{pid}/signal",
		tag,
		summary: "Send a signal",
		body: signalRequest,
		reply: { status: 204, description: "It is sent." },
		handle: async ({ daemon, params, body: { signal, group = true } }) => {
			await daemon.sandboxes.signalProcess(params.id, params.pid, { signal, group });
			return undefined;
		},
	}),
	defineRoute({
		name: "resizeTerminal",
		method: "POST",
		path: "/v1/sandboxes/{id}/processes/{pid}/resize",
		tag,
		summary: "Set the size of a process's terminal",
		description: "A process without a terminal is a `conflict`.",
		body: resizeRequest,
		reply: { status: 204, description: "It is set." },
		handle: async ({ daemon, params, body }) => {
			await daemon.sandboxes.resizeTerminal(params.id, params.pid, body);
			return undefined;
		},
	}),
	defineRoute({
		name: "writeStdin",
		method: "POST",
		path: "/v1/sandboxes/{id}/processes/{pid}/stdin",
		tag,
		summary: "Write to stdin",
		description: [
			"The body, as it comes: a program that does not read slows the request. Pieces of several writers are not torn.",
			"A process whose stdin is closed, or that has none, is a `conflict`. When a request breaks off, `stdinEnd` of the",
			"process tells how much of it has arrived.",
		].join(" "),
		query: stdinQuery,
		rawBody: "application/octet-stream",
		reply: { status: 204, description: "All of it was taken." },
		handle: async ({ daemon: { sandboxes }, params: { id, pid }, query, context }) => {
			await sandboxes.getProcess(id, pid);
			for await (const piece of readStream(context)) await sandboxes.writeStdin(id, pid, piece as Buffer);
			if (query.close) await sandboxes.closeStdin(id, pid);
			return undefined;
		},
	}),
	defineRoute({
		name: "getProcessOutput",
		method: "GET",
		path: "/v1/sandboxes/{id}/processes/{pid}/output",
		tag,
		summary: "Read output by offset",
		description: [
			"Events, one a line. A stream that broke is resumed by the offsets after its last events. Bytes that are no",
			"longer kept are told as `dropped`; those that were asked for by offset are `gone`. Closing the request",
			"changes nothing for the process.",
		].join(" "),
		query: outputQuery,
		reply: { status: 200, description: "Output, then `exit`, or `end` while it runs.", ndjson: processEvent },
		handle: async ({ daemon: { sandboxes }, params: { id, pid }, query, log }) => {
			const { follow = false, ...from } = query;
			const info = await sandboxes.getProcess(id, pid);
			const asked = toAttachProcess(from);
			const attached = new FollowedProcess(await sandboxes.attach(id, pid, asked), asked);
			const source = follow || info.state === "exited" ? followEvents(attached) : keptEvents(attached, info);
			return ndjsonReply(source, log, { doing: `output of process ${pid} in sandbox ${id}` });
		},
	}),
	defineRoute({
		name: "attachProcess",
		method: "GET",
		path: "/v1/sandboxes/{id}/processes/{pid}/attach",
		tag,
		summary: "Attach to a process over a WebSocket",
		description: [
			"Only as a WebSocket, for any number of clients at once. The server sends what it sends for an exec; the client",
			"may send bytes for stdin (binary, with `stdin=true`) or an InteractiveMessage (text). Closing only detaches.",
		].join(" "),
		query: attachQuery,
		reply: { status: 200, description: "Never: the connection is upgraded (101)." },
		handle: () => {
			throw new ShaleError("invalid_argument", "this route is a WebSocket: the Upgrade header is missing", {
				hint: "Read output without one by GET …/output, and write to stdin by POST …/stdin.",
			});
		},
	}),
];

async function hasProcess(sandboxes: Sandboxes, id: string, processId: string): Promise<boolean> {
	try {
		await sandboxes.getProcess(id, processId);
		return true;
	} catch (error) {
		if (toShaleError(error).code === "not_found") return false;
		throw error;
	}
}
