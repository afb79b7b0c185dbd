/** Schemas of layers and recipes. */
import { z } from "zod";
import type { LayerManifest } from "../../layers/manifest.ts";
import type { Recipe } from "../daemon-operations.ts";
import { fields, timestamp } from "./fields.ts";
import { errorEvent, keepaliveEvent } from "./processes.ts";

export const layer: z.ZodType<LayerManifest> = z
	.object({
		name: z.string(),
		digest: z.string().meta({ description: "`sha256:` and 64 hex digits, of the image file." }),
		sizeBytes: z.int(),
		createdAt: timestamp,
		description: z.string().optional(),
		sources: z
			.array(z.looseObject({ kind: z.string() }))
			.meta({ description: "What it was made from; `kind` says what the other fields are." }),
	})
	.meta({ id: "Layer" });

export const layerList = z.object({ layers: z.array(layer) }).meta({ id: "LayerList" });

export const recipe: z.ZodType<Recipe> = z
	.object({ name: z.string(), kind: z.string(), description: z.string() })
	.meta({ id: "Recipe" });

export const recipeList = z.object({ recipes: z.array(recipe) }).meta({ id: "RecipeList" });

export const buildLayer = fields({}).meta({ id: "BuildLayer" });

/** One line of a build. */
export const buildEvent = z
	.union([
		z.object({
			type: z.literal("progress"),
			step: z.string(),
			percent: z.number().optional(),
			message: z.string().optional(),
		}),
		z.object({ type: z.literal("layer"), layer }),
		keepaliveEvent,
		errorEvent,
	])
	.meta({ id: "BuildEvent" });
