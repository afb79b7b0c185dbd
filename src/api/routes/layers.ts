/** Routes of layers: the store, its recipes and builds. */
import type { LayerManifest } from "../../layers/manifest.ts";
import type { Progress } from "../../layers/progress.ts";
import type { LayerOperations } from "../daemon-operations.ts";
import { type EventSource, ndjsonReply } from "../event-stream.ts";
import { readStream } from "../request-body.ts";
import { defineRoute, type Route } from "../route.ts";
import { buildEvent, buildLayer, layer, layerList, recipeList } from "../schemas/layers.ts";

const tag = "Layers";

export const LAYER_ROUTES: readonly Route[] = [
	defineRoute({
		name: "listLayers",
		method: "GET",
		path: "/v1/layers",
		tag,
		summary: "List layers",
		reply: { status: 200, description: "All of them, lowest number first.", json: layerList },
		handle: async ({ daemon }) => ({ layers: [...(await daemon.layers.list())] }),
	}),
	defineRoute({
		name: "getLayer",
		method: "GET",
		path: "/v1/layers/{name}",
		tag,
		summary: "Inspect a layer",
		reply: { status: 200, description: "The layer.", json: layer },
		handle: ({ daemon, params }) => daemon.layers.get(params.name),
	}),
	defineRoute({
		name: "importLayer",
		method: "PUT",
		path: "/v1/layers/{name}",
		tag,
		summary: "Import a squashfs image as a layer",
		description: "The body is the image. It is checked before the layer can be seen.",
		rawBody: "application/octet-stream",
		reply: { status: 201, description: "The layer.", json: layer },
		handle: ({ daemon, params, context }) =>
			daemon.layers.import(params.name, readStream(context), { signal: context.req.raw.signal }),
	}),
	defineRoute({
		name: "removeLayer",
		method: "DELETE",
		path: "/v1/layers/{name}",
		tag,
		summary: "Remove a layer",
		description: "A `conflict` while a sandbox uses it.",
		reply: { status: 204, description: "It is removed." },
		handle: async ({ daemon, params }) => {
			await daemon.layers.remove(params.name);
			return undefined;
		},
	}),
	defineRoute({
		name: "listRecipes",
		method: "GET",
		path: "/v1/recipes",
		tag,
		summary: "List recipes",
		description: "Each can be built into the layer of its name.",
		reply: { status: 200, description: "All of them.", json: recipeList },
		handle: async ({ daemon }) => ({ recipes: [...(await daemon.layers.recipes())] }),
	}),
	defineRoute({
		name: "buildLayer",
		method: "POST",
		path: "/v1/layers/{name}/build",
		tag,
		summary: "Build a layer from its recipe",
		description: "Events, one a line: progress, then the layer. Closing the request cancels the build.",
		body: buildLayer,
		reply: { status: 200, description: "Progress, then the layer.", ndjson: buildEvent },
		handle: ({ daemon, params, log }) =>
			ndjsonReply(buildEvents(daemon.layers, params.name), log, { doing: `building layer ${params.name}` }),
	}),
];

/** A slow reader misses progress that newer progress has replaced; so at most one event waits. */
function buildEvents(layers: LayerOperations, name: string): EventSource {
	const cancelled = new AbortController();
	return { events: tellBuild(layers, name, cancelled.signal), cancel: () => cancelled.abort() };
}

async function* tellBuild(layers: LayerOperations, name: string, signal: AbortSignal) {
	const news: { latest?: Progress | undefined; outcome?: { layer: LayerManifest } | { error: unknown } } = {};
	let wake = Promise.withResolvers<void>();
	const tell = (part: typeof news) => {
		Object.assign(news, part);
		wake.resolve();
	};
	void layers.build(name, { signal, onProgress: (latest) => tell({ latest }) }).then(
		(layer) => tell({ outcome: { layer } }),
		(error: unknown) => tell({ outcome: { error } }),
	);
	while (!news.outcome || news.latest) {
		await wake.promise;
		wake = Promise.withResolvers<void>();
		if (!news.latest) continue;
		const { step, percent, message } = news.latest;
		news.latest = undefined;
		yield { type: "progress", step, percent, message };
	}
	if ("error" in news.outcome) throw news.outcome.error;
	yield { type: "layer", layer: news.outcome.layer };
}
