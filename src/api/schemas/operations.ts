/** Schemas of what the operators of a host look at. */
import { z } from "zod";
import { EVENT_TYPES, type SandboxEvent } from "../../sandbox/events.ts";
import { type GarbageReport, RESOURCE_KINDS } from "../../sandbox/inventory.ts";
import { fields, id, timestamp } from "./fields.ts";

export const listenEvents = fields({
	sandbox: id.optional().meta({ description: "Only of this sandbox." }),
	type: z
		.array(z.enum(EVENT_TYPES))
		.max(64)
		.optional()
		.meta({ description: "Only of these types; repeatable." }),
});

export const sandboxEvent: z.ZodType<SandboxEvent> = z
	.object({
		id: z.string().meta({ description: "To go on from, as `Last-Event-ID`." }),
		type: z.enum([...EVENT_TYPES, "reset"]),
		at: timestamp,
		sandboxId: z.string().optional(),
		reason: z.string().optional(),
		expiresAt: timestamp.nullable().optional(),
		resource: z.object({ kind: z.string(), name: z.string() }).optional(),
	})
	.meta({ id: "SandboxEvent" });

export const collectGarbage = fields({
	dryRun: z.boolean().optional().meta({ description: "List, and remove nothing." }),
}).meta({ id: "CollectGarbage" });

const resource = z
	.object({
		kind: z.enum(RESOURCE_KINDS),
		name: z.string(),
		sandboxId: z
			.string()
			.nullable()
			.meta({ description: "The sandbox that it was made for, when that can be told." }),
	})
	.meta({ id: "Resource" });

export const garbageReport: z.ZodType<GarbageReport> = z
	.object({
		dryRun: z.boolean(),
		removed: z.array(resource).meta({ description: "What was removed, or would be." }),
		left: z.array(resource).meta({ description: "What could not be removed." }),
	})
	.meta({ id: "GarbageReport" });
