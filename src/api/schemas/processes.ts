/** Schemas of processes: exec, background processes, and the events that their output is told in. */
import { z } from "zod";
import type { ProcessExit, ProcessInfo, StartProcess } from "../../sandbox/types.ts";
import {
	argv,
	env,
	fields,
	guestPath,
	id,
	queryBoolean,
	queryInteger,
	signalName,
	terminalSize,
	timeoutMs,
	timestamp,
	user,
} from "./fields.ts";

const startFields = {
	id: id.optional().meta({
		description:
			"Chosen by the client, or made by Shale. The same request again follows the run that there is; another one is a conflict.",
	}),
	argv,
	env: env.optional(),
	workdir: guestPath.optional(),
	user: user.optional(),
	timeoutMs: timeoutMs.optional(),
};

/** Standard base64 with padding, checked by hand: a pattern over 8 MiB would be costly. */
function isBase64(text: string): boolean {
	return text.length % 4 === 0 && Buffer.from(text, "base64").toString("base64") === text;
}

/** For clients whose connection broke: they must not run a program twice whose end was forgotten meanwhile. */
const resume = z.boolean().optional().meta({
	description: "Only follow the run of this id: `not_found` when there is none. Default false.",
});

const RESUME_RULE = { error: "needs the id of the run", path: ["resume"] };

function canResume(request: { readonly id?: string | undefined; readonly resume?: boolean | undefined }) {
	return request.resume !== true || request.id !== undefined;
}

const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

export const execRequest = fields({
	...startFields,
	stdin: z.string().optional().meta({ description: "Text, written as UTF-8; then stdin is closed." }),
	stdinBase64: z
		.string()
		.refine(isBase64, "must be base64 with padding (RFC 4648 §4)")
		.optional()
		.meta({ contentEncoding: "base64", description: "The same for bytes." }),
	maxOutputBytes: z.int().min(1).max(OUTPUT_BYTES_MAX).optional().meta({
		description: "Kept of each stream, in a JSON answer; what is beyond is dropped. Default 1 MiB.",
	}),
	encoding: z
		.enum(["utf8", "base64"])
		.optional()
		.meta({ description: "Of the output in a JSON answer. Default utf8." }),
	resume,
})
	.refine(canResume, RESUME_RULE)
	.refine(({ stdin, stdinBase64 }) => stdin === undefined || stdinBase64 === undefined, {
		error: "must not be given together with stdin",
		path: ["stdinBase64"],
	})
	.meta({ id: "ExecRequest", examples: [{ argv: ["python3", "-c", "print(6*7)"] }] });

export type ExecRequest = z.output<typeof execRequest>;

/** First message of the WebSocket. */
export const interactiveExecRequest = fields({
	...startFields,
	terminal: terminalSize.optional(),
	stdin: z
		.boolean()
		.optional()
		.meta({ description: "Keep stdin open for binary messages; otherwise it is /dev/null." }),
	resume,
})
	.refine(canResume, RESUME_RULE)
	.meta({ id: "InteractiveExecRequest" }) satisfies z.ZodType<StartProcess>;

/** Later text messages of the WebSocket's client. */
export const interactiveMessage = z
	.discriminatedUnion(
		"type",
		[
			fields({ type: z.literal("stdin_close") }),
			fields({ type: z.literal("resize"), ...terminalSize.shape }),
			fields({ type: z.literal("signal"), signal: signalName }),
		],
		{ error: "must be one of stdin_close, resize, signal" },
	)
	.meta({ id: "InteractiveMessage" });

export type InteractiveMessage = z.output<typeof interactiveMessage>;

export const startProcess = fields({
	...startFields,
	terminal: terminalSize.optional(),
	stdin: z
		.boolean()
		.optional()
		.meta({ description: "Keep stdin open for those who write to it later; otherwise it is /dev/null." }),
}).meta({
	id: "StartProcess",
	examples: [{ argv: ["python3", "-m", "http.server"] }],
}) satisfies z.ZodType<StartProcess>;

export const signalRequest = fields({
	signal: signalName,
	group: z.boolean().optional().meta({ description: "To its whole process group. Default true." }),
}).meta({ id: "SignalRequest" });

export const resizeRequest = terminalSize.meta({ id: "ResizeRequest" });

export const stdinQuery = fields({
	close: queryBoolean.optional().meta({ description: "Close stdin after the body. Default false." }),
});

const queryOffset = queryInteger({ min: 0, max: Number.MAX_SAFE_INTEGER });

const fromFields = {
	stdoutAfter: queryOffset.optional().meta({
		description:
			"Byte offset of stdout to begin at; `gone` when it is no longer kept. Default: the oldest byte that is.",
	}),
	stderrAfter: queryOffset.optional().meta({ description: "The same for stderr." }),
	tail: queryOffset.optional().meta({
		description: "Instead of offsets: begin with the newest so many bytes of each stream.",
	}),
};

function hasOneBeginning(query: {
	readonly stdoutAfter?: number | undefined;
	readonly stderrAfter?: number | undefined;
	readonly tail?: number | undefined;
}) {
	return query.tail === undefined || (query.stdoutAfter === undefined && query.stderrAfter === undefined);
}

const BEGINNING_RULE = {
	error: "must not be given together with stdoutAfter or stderrAfter",
	path: ["tail"],
};

export const outputQuery = fields({
	...fromFields,
	follow: queryBoolean.optional().meta({ description: "Go on until the exit. Default false." }),
}).refine(hasOneBeginning, BEGINNING_RULE);

export const attachQuery = fields({
	...fromFields,
	hold: queryBoolean.optional().meta({
		description:
			"The process waits for this client as for a pipe. Default false: a client that falls behind loses output.",
	}),
	stdin: queryBoolean
		.optional()
		.meta({ description: "Binary messages are written to stdin. Default false: the client only watches." }),
}).refine(hasOneBeginning, BEGINNING_RULE);

export type AttachQuery = z.output<typeof attachQuery>;

const exitFields = {
	exitCode: z
		.int()
		.meta({ description: "0 to 255; 128+N after signal N; 127 not found, 126 not executable." }),
	signal: z.string().nullable(),
	timedOut: z.boolean(),
	userTimeMs: z.number(),
	systemTimeMs: z.number(),
	maxRssKiB: z.number(),
} satisfies Record<keyof ProcessExit, z.ZodType>;

export const execResult = z
	.object({
		processId: id,
		...exitFields,
		stdout: z.string(),
		stderr: z.string(),
		truncated: z.boolean().meta({ description: "Output went beyond `maxOutputBytes`." }),
		durationMs: z.number(),
		encoding: z.enum(["utf8", "base64"]).meta({
			description: "In utf8, bytes that are not valid UTF-8 come as U+FFFD; base64 is exact.",
		}),
	})
	.meta({ id: "ExecResult" });

export const processInfo: z.ZodType<ProcessInfo> = z
	.object({
		id,
		guestPid: z.int(),
		argv: z.array(z.string()),
		state: z.enum(["running", "exited"]),
		terminal: z.boolean(),
		stdinEnd: z
			.int()
			.nullable()
			.meta({ description: "Bytes of stdin that it was given so far; null when it has no stdin." }),
		startedAt: timestamp,
		endedAt: timestamp.nullable(),
		exitCode: z.int().nullable(),
		signal: z.string().nullable(),
		timedOut: z.boolean(),
		stdoutStart: z.int().meta({ description: "Offset of the oldest byte that is still kept." }),
		stdoutEnd: z.int(),
		stderrStart: z.int(),
		stderrEnd: z.int(),
	})
	.meta({ id: "ProcessInfo" });

export const processList = z.object({ processes: z.array(processInfo) }).meta({ id: "ProcessList" });

const offset = z.int().meta({
	description: "Of the first byte, from the start of its stream.",
});

const outputStream = z.enum(["stdout", "stderr"]);

/** How a stream of events fails after its status line has been sent. */
export const errorEvent = z
	.object({
		type: z.literal("error"),
		code: z.string(),
		message: z.string(),
		hint: z.string().optional(),
		details: z.record(z.string(), z.unknown()).optional(),
	})
	.meta({ id: "ErrorEvent" });

/** Sent in silence, so that whoever waits finds out that a connection is dead. */
export const keepaliveEvent = z.object({ type: z.literal("keepalive") }).meta({
	description: "Nothing happened for 15 s, and the connection lives. To be ignored.",
});

const startedEvent = z.object({
	type: z.literal("started"),
	processId: id,
	guestPid: z.int(),
	stdinOffset: z.int().optional().meta({
		description: "Only over a WebSocket with stdin: the offset of the next byte that the program takes.",
	}),
});

const droppedEvent = z
	.object({ type: z.literal("dropped"), stream: outputStream, bytes: z.int(), offset })
	.meta({ description: "So many bytes from this offset on are no longer kept." });

const exitEvent = z.object({ type: z.literal("exit"), ...exitFields });

/** One line of a streamed exec. A stream that ends without `exit`, `end` or `error` has failed. */
export const processEvent = z
	.union([
		startedEvent,
		z.object({ type: outputStream, offset, text: z.string() }),
		z.object({ type: outputStream, offset, base64: z.string().meta({ contentEncoding: "base64" }) }),
		droppedEvent,
		exitEvent,
		z
			.object({ type: z.literal("end") })
			.meta({ description: "All that was kept has been sent; it still runs." }),
		keepaliveEvent,
		errorEvent,
	])
	.meta({ id: "ProcessEvent" });

export type ProcessEvent = z.output<typeof processEvent>;

/** Text messages of the WebSocket's server; output comes as binary. */
export const interactiveEvent = z
	.union([
		startedEvent,
		droppedEvent,
		z.object({ type: z.literal("stdin"), offset: z.int() }).meta({
			description:
				"What was sent of stdin before this offset has arrived, and need not be kept to be sent again.",
		}),
		exitEvent,
		keepaliveEvent,
		errorEvent,
	])
	.meta({ id: "InteractiveEvent" });

export type InteractiveEvent = z.output<typeof interactiveEvent>;
