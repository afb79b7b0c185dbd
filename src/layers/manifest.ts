/** The manifest of a layer: the JSON file beside its image that makes it visible. */
import { z } from "zod";
import { ShaleError } from "../lib/errors.ts";
import { LAYER_NAME_PATTERN } from "./stack.ts";

/** One thing that a layer was made from; `kind` says what the other fields are. */
export const layerSourceSchema = z.looseObject({ kind: z.string() });

export const layerManifestSchema = z.strictObject({
	name: z.string().regex(LAYER_NAME_PATTERN),
	/** Of the whole image file: `sha256:` and 64 hex digits. */
	digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
	sizeBytes: z.int().positive(),
	/** RFC 3339, UTC. */
	createdAt: z.iso.datetime(),
	description: z.string().max(1000).optional(),
	/** What it was made from, with versions and checksums. */
	sources: z.array(layerSourceSchema),
});

export type LayerSource = z.infer<typeof layerSourceSchema>;
export type LayerManifest = Readonly<z.infer<typeof layerManifestSchema>>;

/** Reads a manifest's text. Throws `layer_damaged` when it is not one, or is that of another layer. */
export function parseManifest(text: string, name: string): LayerManifest {
	try {
		const manifest = layerManifestSchema.parse(JSON.parse(text));
		if (manifest.name === name) return manifest;
		throw new Error(`it says it is of ${manifest.name}`);
	} catch (error) {
		const reason = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
		throw new ShaleError("layer_damaged", `layer ${name}: its manifest cannot be read: ${reason}`, {
			hint: `Build or import ${name} again with replace, or remove it.`,
			details: { layer: name },
			cause: error,
		});
	}
}

export function formatManifest(manifest: LayerManifest): string {
	return `${JSON.stringify(manifest, undefined, "\t")}\n`;
}
