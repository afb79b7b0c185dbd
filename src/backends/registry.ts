/** Names to backends. */
import { ShaleError } from "../lib/errors.ts";
import type { Backend } from "./backend.ts";

/** Other names that clients know a backend by. */
const ALIASES: Readonly<Record<string, string>> = { chroot: "namespace" };

export class BackendRegistry {
	readonly default: string;
	readonly #backends: ReadonlyMap<string, Backend>;

	/** The first one is the default. */
	constructor(first: Backend, ...others: readonly Backend[]) {
		this.default = first.name;
		this.#backends = new Map([first, ...others].map((backend) => [backend.name, backend]));
	}

	get(name: string): Backend {
		const backend = this.#backends.get(ALIASES[name] ?? name);
		if (backend) return backend;
		throw new ShaleError("invalid_argument", `backend: there is no backend "${name}"`, {
			hint: `The backends are ${[...this.#backends.keys()].join(", ")}.`,
		});
	}

	list(): readonly Backend[] {
		return [...this.#backends.values()];
	}
}
