/** Where what there is on the host comes from, each told and tidied in the same way. */
import type { Backend } from "../backends/backend.ts";
import type { LayerStore } from "../layers/store.ts";
import type { Resource, ResourceSource } from "./inventory.ts";
import type { SandboxStore } from "./store.ts";

export function backendSource(backend: Pick<Backend, "listResources" | "removeOrphans">): ResourceSource {
	return {
		list: async () =>
			(await backend.listResources()).map(({ kind, name, sandboxId = null }) => ({ kind, name, sandboxId })),
		remove: (known) => backend.removeOrphans(known),
	};
}

/** Rows without a sandbox: of creations that failed while the database could not be written. */
export function recordSource(store: Pick<SandboxStore, "listLiving" | "remove">): ResourceSource {
	const list = () => store.listLiving().map(({ sandbox }) => sandbox);
	return {
		list: async () =>
			list().map(({ id, state }): Resource => ({ kind: "record", name: `${id} (${state})`, sandboxId: id })),
		async remove(known) {
			for (const { id } of list()) if (!known.has(id)) store.remove(id);
		},
	};
}

/** Half-made layers whose maker is dead. */
export function layerSource(
	store: Pick<LayerStore, "listStalePartials" | "removeStalePartials">,
): ResourceSource {
	return {
		list: async () =>
			(await store.listStalePartials()).map((name): Resource => ({ kind: "file", name, sandboxId: null })),
		remove: () => store.removeStalePartials(),
	};
}
