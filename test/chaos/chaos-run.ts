/**
 * Many cycles of create, exec and destroy at once, while the daemon and its jailer are killed at random moments. In the end
 * nothing may be lost, wrong or left behind.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { type KillKind, ServedDaemon } from "../support/served-daemon.ts";
import { checkKept, destroy, type KeptSandbox, runCycle } from "./cycle.ts";
import { PatientClient } from "./patient-client.ts";
import { createRandom, type Random } from "./random.ts";

export const CHAOS_LAYERS = ["000-base-debian"] as const;

export interface ChaosOptions {
	readonly cycles: number;
	readonly workers: number;
	readonly seed: number;
	/** Ends it early; what was made is destroyed all the same. */
	readonly signal?: AbortSignal;
	/** Called with a line for people, now and then. */
	readonly onProgress?: (line: string) => void;
}

export interface ChaosReport {
	readonly seed: number;
	readonly cycles: number;
	readonly seconds: number;
	readonly kills: Readonly<Record<KillKind, number>>;
	/** Of the daemon. */
	readonly starts: number;
	/** Calls that a client had to send again. */
	readonly retries: number;
	/** Sandboxes that a daemon took over from the one before, summed. */
	readonly adopted: number;
	/** Sandboxes that lived to the end. */
	readonly kept: number;
	/** What must not happen and did; empty when all is well. */
	readonly violations: readonly string[];
	/** The folder with the daemon's log; it is removed when all is well. */
	readonly folder: string;
}

/** Between two kills. A start of the daemon takes about 0.3 s. */
const KILL_PAUSE_MS = { min: 100, max: 2000 } as const;
/** More of them say nothing new. */
const MAX_VIOLATIONS = 20;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
	const startedAt = Date.now();
	const daemon = await ServedDaemon.prepare({ layers: CHAOS_LAYERS });
	const before = takeInventory();
	const run = new ChaosRun(daemon, options);
	try {
		await daemon.start();
		await Promise.race([run.work(), daemon.failed]);
	} catch (error) {
		run.violations.push(String(error));
	}
	await daemon.stop();
	run.violations.push(...(await waitForNoLeaks(before)).map((leak) => `leaked: ${leak}`));
	if (run.violations.length === 0) daemon.removeFolder();
	return {
		seed: options.seed,
		cycles: run.cyclesDone,
		seconds: (Date.now() - startedAt) / 1000,
		kills: run.kills,
		starts: daemon.starts,
		retries: run.client.retries,
		adopted: run.adopted,
		kept: run.kept,
		violations: run.violations,
		folder: daemon.folder,
	};
}

class ChaosRun {
	readonly client: PatientClient;
	readonly kills: Record<KillKind, number> = { daemon: 0, jailer: 0, both: 0, upgrade: 0 };
	readonly violations: string[] = [];
	cyclesDone = 0;
	adopted = 0;
	kept = 0;
	readonly #daemon: ServedDaemon;
	readonly #options: ChaosOptions;
	readonly #random: Random;
	#nextCycle = 0;

	constructor(daemon: ServedDaemon, options: ChaosOptions) {
		this.client = new PatientClient(daemon.url);
		this.#daemon = daemon;
		this.#options = options;
		this.#random = createRandom(options.seed);
		daemon.onServing = async () => {
			this.adopted += (await this.#listSandboxes("state=running")).length;
		};
	}

	/** All cycles with the killer about; then, in peace, the sandboxes that were kept. */
	async work(): Promise<void> {
		const over = new AbortController();
		const killing = this.#killAtRandom(over.signal);
		const kept: KeptSandbox[] = [];
		await Promise.all(Array.from({ length: this.#options.workers }, () => this.#workOff(kept)));
		over.abort();
		await killing;
		this.kept = kept.length;
		for (const sandbox of kept) await this.#note(checkKept(this.client, sandbox));
		for (const id of await this.#listSandboxes()) {
			// One that belongs to a violation, or one that should not be there.
			if (this.violations.length === 0) this.violations.push(`${id} is still there`);
			await this.#note(destroy(this.client, id));
		}
	}

	async #workOff(kept: KeptSandbox[]): Promise<void> {
		const isOver = () => this.#options.signal?.aborted || this.violations.length >= MAX_VIOLATIONS;
		while (this.#nextCycle < this.#options.cycles && !isOver()) {
			const number = this.#nextCycle++;
			const sandboxId = `chaos-${number}`;
			const random = this.#random.fork(number);
			const sandbox = await this.#note(runCycle({ client: this.client, sandboxId, random }));
			if (sandbox) kept.push(sandbox);
			this.cyclesDone++;
			if (this.cyclesDone % 50 === 0) this.#options.onProgress?.(`${this.cyclesDone} cycles`);
		}
	}

	async #note<T>(work: Promise<T>): Promise<T | undefined> {
		try {
			return await work;
		} catch (error) {
			const told = error instanceof Error ? error.message : String(error);
			this.violations.push(told);
			this.#options.onProgress?.(`violation: ${told}`);
			return undefined;
		}
	}

	async #killAtRandom(over: AbortSignal): Promise<void> {
		const random = this.#random.fork(-1);
		while (!over.aborted) {
			const pauseMs = random.integer(KILL_PAUSE_MS.min, KILL_PAUSE_MS.max);
			await sleep(pauseMs, undefined, { signal: over }).catch(() => undefined);
			if (over.aborted) return;
			const kind = random.pick<KillKind>("daemon", "jailer", "both", "upgrade");
			// Mostly when it serves, and sometimes while it starts.
			if (random.next() < 0.8) await this.#daemon.serving();
			this.kills[kind]++;
			this.#daemon.kill(kind);
		}
	}

	async #listSandboxes(query = ""): Promise<string[]> {
		const response = await fetch(`${this.#daemon.url}/v1/sandboxes?limit=1000&${query}`);
		const { sandboxes } = (await response.json()) as { sandboxes: readonly { id: string }[] };
		return sandboxes.map(({ id }) => id);
	}
}
