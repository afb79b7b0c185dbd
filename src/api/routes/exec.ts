/** Exec: the one route that must be fast, and its two ways of telling output while the program runs. */
import { ShaleError } from "../../lib/errors.ts";
import type { ExecResult, ExecSandbox, StartProcess } from "../../sandbox/types.ts";
import { ndjsonReply } from "../event-stream.ts";
import { foregroundEvents } from "../process-events.ts";
import { defineRoute, type Route, type RouteRequest } from "../route.ts";
import { type ExecRequest, execRequest, execResult, processEvent } from "../schemas/processes.ts";

const tag = "Exec";

export const EXEC_ROUTES: readonly Route[] = [
	defineRoute({
		name: "exec",
		method: "POST",
		path: "/v1/sandboxes/{id}/exec",
		tag,
		summary: "Run a program to its end",
		description: [
			"With `Accept: application/json` (the default) the answer comes at the end, with the output captured.",
			"With `Accept: application/x-ndjson` events come while the program runs, one a line; a slow reader slows the",
			"program. Either way the program belongs to the request: closing the connection kills its process group. Under an",
			"`id` of the client's, the same request again follows the run that there is; that is how a client goes on after",
			"a restart of the daemon, which kills nothing.",
			"The program's exit code is a result, not an error.",
		].join(" "),
		body: execRequest,
		reply: { status: 200, description: "How it ended.", json: execResult, ndjson: processEvent },
		handle: (request) =>
			wantsEvents(request.context.req.raw) ? execStreamed(request) : execCaptured(request),
	}),
	defineRoute({
		name: "execInteractive",
		method: "GET",
		path: "/v1/sandboxes/{id}/exec",
		tag,
		summary: "Run a program over a WebSocket",
		description: [
			"Only as a WebSocket. The client's first message is an InteractiveExecRequest as text. Later ones are bytes for",
			"stdin (binary), or an InteractiveMessage (text). The server sends the events of a streamed exec as text, except",
			"output, which comes as binary: 1 byte stream (1 stdout, 2 stderr), 8 bytes offset (big endian), the bytes.",
			"Closing kills the process group, unless the daemon does it with 1012: then it stops, and kills nothing.",
		].join(" "),
		reply: { status: 200, description: "Never: the connection is upgraded (101)." },
		handle: () => {
			throw new ShaleError("invalid_argument", "this route is a WebSocket: the Upgrade header is missing", {
				hint: "Run programs without one by POST to the same path.",
			});
		},
	}),
];

type Request = RouteRequest<"id", undefined, ExecRequest>;

function wantsEvents(request: globalThis.Request): boolean {
	return request.headers.get("accept")?.includes("application/x-ndjson") ?? false;
}

async function execCaptured({ daemon, foregrounds, params, body, context }: Request) {
	const { stdin: _text, stdinBase64: _bytes, encoding = "utf8", resume = false, ...program } = body;
	const stdin = readStdin(body);
	const request: ExecSandbox = stdin ? { ...program, stdin } : program;
	if (resume && body.id !== undefined) await daemon.sandboxes.getProcess(params.id, body.id);
	const result = await foregrounds.during(context.req.raw.signal, (signal) =>
		daemon.sandboxes.exec(params.id, request, { signal }),
	);
	return toResult(result, encoding);
}

function toResult(result: ExecResult, encoding: "utf8" | "base64") {
	return {
		processId: result.processId,
		exitCode: result.exitCode,
		signal: result.signal,
		timedOut: result.timedOut,
		stdout: result.stdout.toString(encoding),
		stderr: result.stderr.toString(encoding),
		truncated: result.truncated,
		durationMs: result.durationMs,
		userTimeMs: result.userTimeMs,
		systemTimeMs: result.systemTimeMs,
		maxRssKiB: result.maxRssKiB,
		encoding,
	};
}

async function execStreamed({ foregrounds, params, body, log }: Request): Promise<Response> {
	const { id, argv, env, workdir, user, timeoutMs, resume } = body;
	const stdin = readStdin(body);
	const start: StartProcess = { id, argv, env, workdir, user, timeoutMs, stdin: stdin !== undefined };
	const foreground = await foregrounds.start(params.id, { ...start, resume });
	if (stdin) void foreground.feed(stdin);
	return ndjsonReply(foregroundEvents(foreground), log, { doing: `exec in sandbox ${params.id}` });
}

function readStdin({ stdin, stdinBase64 }: ExecRequest): Buffer | undefined {
	if (stdin !== undefined) return Buffer.from(stdin, "utf8");
	return stdinBase64 === undefined ? undefined : Buffer.from(stdinBase64, "base64");
}
