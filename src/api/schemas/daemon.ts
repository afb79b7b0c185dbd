/** Schemas of what the daemon says about itself, and of errors. */
import { z } from "zod";
import { ERRORS, type ErrorCode } from "../../lib/errors.ts";
import type { DoctorReport, Version } from "../daemon-operations.ts";

export const doctorReport: z.ZodType<DoctorReport> = z
	.object({
		checks: z.array(
			z.object({ name: z.string(), ok: z.boolean(), detail: z.string(), fix: z.string().optional() }),
		),
		ready: z.boolean().meta({ description: "Sandboxes can be made." }),
	})
	.meta({ id: "DoctorReport" });

export const version: z.ZodType<Version> = z
	.object({ version: z.string(), node: z.string(), kernel: z.string() })
	.meta({ id: "Version" });

export const health = z.object({ status: z.literal("ok") }).meta({ id: "Health" });

export const errorBody = z
	.object({
		code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
		message: z.string(),
		hint: z.string().optional(),
		details: z.record(z.string(), z.unknown()).optional(),
	})
	.meta({ id: "Error" });
