/** Schemas of sandboxes. */
import { z } from "zod";
import { MAX_STACK_LAYERS } from "../../layers/stack.ts";
import { SMALLEST_LIMITS } from "../../sandbox/resolve.ts";
import type { CreateSandbox, Limits, Sandbox, SandboxPage, SandboxStats } from "../../sandbox/types.ts";
import {
	env,
	fields,
	guestPath,
	id,
	labels,
	layerName,
	name,
	queryInteger,
	timestamp,
	user,
} from "./fields.ts";

/** The core also holds the values against the machine. */
const limit = (name: keyof Limits, description: string) =>
	z.int().min(SMALLEST_LIMITS[name]).exactOptional().meta({ description });

const limits = fields({
	cpuMillis: limit("cpuMillis", "CPU time per second, in thousandths of a core."),
	memoryMiB: limit("memoryMiB", "A program beyond it is killed."),
	swapMiB: limit("swapMiB", "Swap beyond memory."),
	processes: limit("processes", "Processes and threads at once."),
	openFiles: limit("openFiles", "Open files of each process (RLIMIT_NOFILE)."),
	diskMiB: limit("diskMiB", "Size of the writable layer."),
});

const upper = z.enum(["tmpfs", "disk"]).meta({ description: "Where the writable layer lives." });

/** Ten years. */
const LONGEST_MS = 315_360_000_000;

const duration = z.int().min(1).max(LONGEST_MS);

const onExpiry = z.enum(["destroy", "stop"]);

export const createSandbox = fields({
	id: id.optional(),
	name: name.optional(),
	layers: z.array(layerName).min(1).max(MAX_STACK_LAYERS).optional(),
	backend: z
		.string()
		.regex(/^[a-z][a-z0-9-]{0,31}$/, "must be the name of a backend, such as namespace")
		.optional(),
	env: env.optional(),
	user: user.optional(),
	workdir: guestPath.optional(),
	labels: labels.optional(),
	hostname: z
		.string()
		.regex(
			/^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/,
			"must be 1 to 63 letters, digits, dots and dashes, with a letter or digit at both ends",
		)
		.optional(),
	limits: limits.optional(),
	upper: upper.optional(),
	network: z.enum(["none"]).optional(),
	lifetimeMs: duration
		.optional()
		.meta({ description: "It ends so long after it began to run. Default: never." }),
	idleTimeoutMs: duration
		.optional()
		.meta({ description: "It ends after so much time in which nobody used it. Default: never." }),
	onExpiry: onExpiry
		.optional()
		.meta({ description: "What its end is; `stop` keeps a disk upper. Default: destroy." }),
}).meta({
	id: "CreateSandbox",
	examples: [{ name: "my-sandbox", limits: { memoryMiB: 256 } }],
}) satisfies z.ZodType<CreateSandbox>;

export const extendSandbox = fields({
	lifetimeMs: duration.nullable().meta({ description: "From now on; null: it does not end by itself." }),
}).meta({ id: "ExtendSandbox", examples: [{ lifetimeMs: 3_600_000 }] });

export const sandboxState = z.enum([
	"creating",
	"running",
	"stopping",
	"stopped",
	"starting",
	"failed",
	"destroying",
	"destroyed",
]);

const labelFilter = z
	.string()
	.regex(/^[^=]+=/, "must be key=value")
	.meta({ examples: ["team=web"] });

export const listSandboxes = fields({
	label: z
		.array(labelFilter)
		.max(64)
		.optional()
		.meta({ description: "`key=value`; all that are given must match." }),
	name: name.optional(),
	state: sandboxState.optional(),
	limit: queryInteger({ min: 1, max: 1000 }).optional().meta({ description: "Default 100." }),
	cursor: z.string().min(1).max(512).optional().meta({ description: "Of the page before." }),
});

export const sandbox: z.ZodType<Sandbox> = z
	.object({
		id,
		name: z.string().nullable(),
		state: sandboxState,
		reason: z.string().nullable().meta({ description: "Why it is `failed` or `stopped`." }),
		backend: z.string(),
		layers: z.array(z.string()),
		env: z.record(z.string(), z.string()),
		user: z.string().meta({ description: "Empty: root of the sandbox." }),
		workdir: z.string(),
		hostname: z.string(),
		labels: z.record(z.string(), z.string()),
		limits: z.object({
			cpuMillis: z.int(),
			memoryMiB: z.int(),
			swapMiB: z.int(),
			processes: z.int(),
			openFiles: z.int(),
			diskMiB: z.int(),
		} satisfies Record<keyof Limits, z.ZodType>),
		upper,
		network: z.enum(["none"]),
		createdAt: timestamp,
		expiresAt: timestamp.nullable().meta({ description: "When its lifetime ends; null when it has none." }),
		idleTimeoutMs: z.int().nullable(),
		onExpiry,
	})
	.meta({ id: "Sandbox" });

export const sandboxPage: z.ZodType<SandboxPage> = z
	.object({
		sandboxes: z.array(sandbox),
		cursor: z.string().nullable().meta({ description: "For the next page; null at the end." }),
	})
	.meta({ id: "SandboxPage" });

export const sandboxStats: z.ZodType<SandboxStats> = z
	.object({
		memoryBytes: z.int(),
		memoryPeakBytes: z.int(),
		memoryLimitBytes: z.int(),
		cpuUsageUs: z.int(),
		cpuThrottledUs: z.int(),
		processes: z.int(),
		oomKills: z.int(),
	})
	.meta({ id: "SandboxStats" });
