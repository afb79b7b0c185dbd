/** Routes of background processes. */
import { ndjsonReply } from "../event-stream.ts";
import { followEvents, keptEvents } from "../process-events.ts";
import { defineRoute, type Route } from "../route.ts";
import {
	outputQuery,
	processEvent,
	processInfo,
	processList,
	signalRequest,
	startProcess,
} from "../schemas/processes.ts";

const tag = "Processes";

export const PROCESS_ROUTES: readonly Route[] = [
	defineRoute({
		name: "startProcess",
		method: "POST",
		path: "/v1/sandboxes/{id}/processes",
		tag,
		summary: "Start a process in the background",
		description: "It outlives the request. The newest 1 MiB of each output stream is kept for later readers.",
		body: startProcess,
		reply: { status: 201, description: "The process.", json: processInfo },
		handle: ({ daemon, params, body }) => daemon.sandboxes.startDetached(params.id, body),
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
		name: "getProcessOutput",
		method: "GET",
		path: "/v1/sandboxes/{id}/processes/{pid}/output",
		tag,
		summary: "Read output by offset",
		description: [
			"Events, one a line. A stream that broke is resumed by the offsets after its last events. Closing the request",
			"changes nothing for the process.",
		].join(" "),
		query: outputQuery,
		reply: { status: 200, description: "Output, then `exit`, or `end` while it runs.", ndjson: processEvent },
		handle: async ({ daemon: { sandboxes }, params: { id, pid }, query, log }) => {
			const { stdoutAfter = 0, stderrAfter = 0, follow = false } = query;
			const info = await sandboxes.getProcess(id, pid);
			const process = await sandboxes.attach(id, pid, {
				stdoutOffset: stdoutAfter,
				stderrOffset: stderrAfter,
			});
			const source =
				follow || info.state === "exited"
					? followEvents(process)
					: keptEvents(process, { stdout: stdoutAfter, stderr: stderrAfter }, info);
			return ndjsonReply(source, log, `output of process ${pid} in sandbox ${id}`);
		},
	}),
];
