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
	id: id.optional().meta({ description: "Chosen by the client, or made by Shale." }),
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
})
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
}).meta({ id: "InteractiveExecRequest" }) satisfies z.ZodType<StartProcess>;

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

export const startProcess = fields({ ...startFields, terminal: terminalSize.optional() }).meta({
	id: "StartProcess",
	examples: [{ argv: ["python3", "-m", "http.server"] }],
}) satisfies z.ZodType<StartProcess>;

export const signalRequest = fields({
	signal: signalName,
	group: z.boolean().optional().meta({ description: "To its whole process group. Default true." }),
}).meta({ id: "SignalRequest" });

export const outputQuery = fields({
	stdoutAfter: queryInteger({ min: 0, max: Number.MAX_SAFE_INTEGER }).optional().meta({
		description: "Byte offset to begin at. Default 0; what is no longer kept is skipped.",
	}),
	stderrAfter: queryInteger({ min: 0, max: Number.MAX_SAFE_INTEGER }).optional(),
	follow: queryBoolean.optional().meta({ description: "Go on until the exit. Default false." }),
});

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
	description:
		"Of the first byte, from the start of its stream. A gap to the end of the last event is what was dropped.",
});

const outputStream = z.enum(["stdout", "stderr"]);

/** How a stream of events fails after its status line has been sent. */
export const errorEvent = z
	.object({
		type: z.literal("error"),
		code: z.string(),
		message: z.string(),
		hint: z.string().optional(),
	})
	.meta({ id: "ErrorEvent" });

/** One line of a streamed exec. A stream that ends without `exit`, `end` or `error` has failed. */
export const processEvent = z
	.union([
		z.object({ type: z.literal("started"), processId: id, guestPid: z.int() }),
		z.object({ type: outputStream, offset, text: z.string() }),
		z.object({ type: outputStream, offset, base64: z.string().meta({ contentEncoding: "base64" }) }),
		z.object({ type: z.literal("exit"), ...exitFields }),
		z
			.object({ type: z.literal("end") })
			.meta({ description: "All that was kept has been sent; it still runs." }),
		errorEvent,
	])
	.meta({ id: "ProcessEvent" });

export type ProcessEvent = z.output<typeof processEvent>;
