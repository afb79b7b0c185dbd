/** The read-only layers that sandboxes are stacked from. */
import { ShaleConnectionError } from "./errors.ts";
import { textField } from "./events.ts";
import { apiPath, type Transport } from "./transport.ts";
import type { BuildProgress, Layer, Recipe } from "./types.ts";

export interface BuildOptions {
	readonly onProgress?: ((progress: BuildProgress) => void) | undefined;
	/** Aborting cancels the build; nothing half-made is left. */
	readonly signal?: AbortSignal | undefined;
}

export class Layers {
	readonly #transport: Transport;

	constructor(transport: Transport) {
		this.#transport = transport;
	}

	async list(): Promise<readonly Layer[]> {
		const { layers } = await this.#transport.json<{ layers: Layer[] }>("GET", apiPath("layers"));
		return layers;
	}

	async get(name: string): Promise<Layer> {
		return await this.#transport.json("GET", apiPath("layers", name));
	}

	/** What can be built. */
	async recipes(): Promise<readonly Recipe[]> {
		const { recipes } = await this.#transport.json<{ recipes: Recipe[] }>("GET", apiPath("recipes"));
		return recipes;
	}

	/** Builds a layer by its recipe. */
	async build(name: string, { onProgress, signal }: BuildOptions = {}): Promise<Layer> {
		const options = { json: {}, signal, last: ["layer"] };
		for await (const event of this.#transport.events("POST", apiPath("layers", name, "build"), options)) {
			if (event.type === "layer") return event.layer as Layer;
			if (event.type === "progress") {
				onProgress?.({
					step: textField(event, "step"),
					percent: typeof event.percent === "number" ? event.percent : undefined,
					message: typeof event.message === "string" ? event.message : undefined,
				});
			}
		}
		throw new ShaleConnectionError("the daemon ended the build without a layer");
	}

	/** Takes a squashfs image as a layer. A stream is sent as it is read, and read once. */
	async import(
		name: string,
		image: Blob | Uint8Array | ReadableStream<Uint8Array>,
		{ signal }: { readonly signal?: AbortSignal | undefined } = {},
	): Promise<Layer> {
		return await this.#transport.json("PUT", apiPath("layers", name), { body: image, signal });
	}

	/** @throws ShaleApiError `conflict` while a sandbox uses it. */
	async remove(name: string): Promise<void> {
		await this.#transport.send("DELETE", apiPath("layers", name));
	}
}
