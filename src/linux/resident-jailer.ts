/**
 * A jailer that is there as long as the daemon: when its process dies, another one is started and takes over the
 * sandboxes. What is lost is the call under way, which fails, and the layers' mounts, which listeners hear of.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ShaleError } from "../lib/errors.ts";
import { type ExitListener, ExitListeners } from "./exit-listeners.ts";
import { Jailer, type JailerChild, type JailerExit, type StartJailerOptions } from "./jailer.ts";
import type { Plan } from "./plan.ts";

export interface ResidentJailerOptions extends Omit<StartJailerOptions, "signal"> {
	/** Told of each death, with what the jailer said. */
	readonly onDeath?: (error: Error) => void;
	/** How many times a minute it is started again. Default 5; 0 where it could not be. */
	readonly restartsPerMinute?: number;
}

const RESTARTS_PER_MINUTE = 5;
const MINUTE_MS = 60_000;
/** After a start that failed. */
const PAUSE_MS = 200;

interface Watched {
	readonly child: JailerChild;
	/** A cgroup that it is in; one without can be taken over by nobody. */
	readonly cgroupHostPath: string | undefined;
}

export class ResidentJailer {
	/** Resolves when it was closed, or when it died too often to be started again: then every call fails. */
	readonly closed: Promise<void>;
	readonly #options: ResidentJailerOptions;
	readonly #exits = new ExitListeners();
	readonly #watched = new Map<number, Watched>();
	readonly #restartListeners: (() => void)[] = [];
	#restartTimes: number[] = [];
	#current!: Promise<Jailer>;
	#generation = 1;
	#isClosing = false;
	#failure: Error | undefined;
	#end: () => void = () => {};

	private constructor(options: ResidentJailerOptions) {
		this.#options = options;
		this.closed = new Promise((resolve) => {
			this.#end = resolve;
		});
	}

	/** As {@link Jailer.start}; a first start that fails is not repeated. */
	static async start(options: ResidentJailerOptions): Promise<ResidentJailer> {
		const resident = new ResidentJailer(options);
		resident.#use(Jailer.start(options));
		await resident.#current;
		return resident;
	}

	/** Grows with each jailer: what depends on one is lost when it is another number. */
	get generation(): number {
		return this.#generation;
	}

	/** Why it was given up. */
	get failure(): Error | undefined {
		return this.#failure;
	}

	/** Calls `listener` when a jailer has died, before a call reaches the next one. */
	onRestart(listener: () => void): void {
		this.#restartListeners.push(listener);
	}

	/**
	 * As {@link Jailer.run}. When the jailer dies meanwhile, this fails with `unavailable` once there is another one; how
	 * far the plan got is unknown, and a child that it made is nobody's.
	 */
	run(plan: Plan): Promise<JailerChild> {
		return this.#call(async (jailer) => {
			const child = await jailer.run(plan);
			if (child.hostPid !== 0) this.#keep(jailer, { child, cgroupHostPath: findCgroup(plan) });
			return child;
		});
	}

	/** As {@link Jailer.watch}. */
	watch(child: JailerChild, cgroupHostPath: string): Promise<boolean> {
		return this.#call(async (jailer) => {
			const lives = await jailer.watch(child, cgroupHostPath);
			if (lives) this.#keep(jailer, { child, cgroupHostPath });
			return lives;
		});
	}

	/** As {@link Jailer.kill}. */
	kill(hostPid: number, signo: number): Promise<void> {
		return this.#call((jailer) => jailer.kill(hostPid, signo));
	}

	/** As {@link Jailer.onExit}, also for an exit that no jailer saw: its wait status is unknown. */
	onExit(hostPid: number, listener: ExitListener): () => void {
		return this.#exits.on(hostPid, listener);
	}

	/** Acts again as long as the jailer dies meanwhile: for what may be repeated. Bounded by how often it may die. */
	async repeat<T>(act: () => Promise<T>): Promise<T> {
		for (;;) {
			const generation = this.#generation;
			try {
				return await act();
			} catch (error) {
				if (this.#generation === generation) throw error;
			}
		}
	}

	/** Ends the jailer; its sandboxes live on. May be called twice. */
	async close(): Promise<void> {
		this.#isClosing = true;
		const jailer = await this.#current.catch(() => undefined);
		await jailer?.close();
		await this.closed;
	}

	async #call<T>(call: (jailer: Jailer) => Promise<T>): Promise<T> {
		const jailer = await this.#current;
		try {
			return await call(jailer);
		} catch (error) {
			// Whoever tries again shall find the next one.
			if (jailer.hasEnded) await jailer.closed.then(() => this.#current).catch(() => undefined);
			throw error;
		}
	}

	#use(starting: Promise<Jailer>): void {
		this.#current = starting.then((jailer) => {
			void jailer.closed.then(() => this.#lose(jailer));
			return jailer;
		});
		this.#current.catch((error: Error) => {
			this.#failure = error;
			this.#end();
		});
	}

	#lose(jailer: Jailer): void {
		if (this.#isClosing) {
			this.#end();
			return;
		}
		this.#options.onDeath?.(jailer.goneError);
		this.#generation++;
		for (const listener of this.#restartListeners) listener();
		this.#use(this.#startAgain(jailer.goneError));
	}

	async #startAgain(cause: Error): Promise<Jailer> {
		for (let error = cause; ; await sleep(PAUSE_MS)) {
			this.#countRestart(error);
			try {
				return await this.#startWatching();
			} catch (startError) {
				error = startError instanceof Error ? startError : new Error(String(startError));
				this.#options.onDeath?.(error);
			}
		}
	}

	async #startWatching(): Promise<Jailer> {
		const jailer = await Jailer.start(this.#options);
		try {
			await Promise.all([...this.#watched.values()].map((watched) => this.#watchAgain(jailer, watched)));
			return jailer;
		} catch (error) {
			await jailer.close();
			throw error;
		}
	}

	#countRestart(cause: Error): void {
		const now = performance.now();
		const { restartsPerMinute = RESTARTS_PER_MINUTE } = this.#options;
		this.#restartTimes = this.#restartTimes.filter((time) => now - time < MINUTE_MS);
		if (this.#restartTimes.length >= restartsPerMinute) {
			throw new ShaleError("unavailable", `${cause.message}; it is not started again`, {
				hint: "Start the daemon again: it takes over all sandboxes.",
				cause,
			});
		}
		this.#restartTimes.push(now);
	}

	#keep(jailer: Jailer, watched: Watched): void {
		const { hostPid } = watched.child;
		this.#exits.renew(hostPid);
		this.#watched.set(hostPid, watched);
		jailer.onExit(hostPid, (exit) => this.#tell(exit));
	}

	async #watchAgain(jailer: Jailer, { child, cgroupHostPath }: Watched): Promise<void> {
		const lives = cgroupHostPath !== undefined && (await jailer.watch(child, cgroupHostPath));
		if (lives) jailer.onExit(child.hostPid, (exit) => this.#tell(exit));
		else this.#tell(unseenExit(child.hostPid));
	}

	#tell(exit: JailerExit): void {
		this.#watched.delete(exit.hostPid);
		this.#exits.tell(exit);
	}
}

/** One of the cgroups that a plan's child is in. */
function findCgroup(plan: Plan): string | undefined {
	const prefix = "cgroup2=";
	const words = plan.flatMap(([name, ...words]) => (name === "clone" ? words.map(String) : []));
	const unified = words.find((word) => word.startsWith(prefix));
	return unified?.slice(prefix.length) ?? plan.find(([name]) => name === "cgroup_join")?.[1]?.toString();
}

function unseenExit(hostPid: number): JailerExit {
	return { hostPid, waitStatus: undefined, userTimeMs: 0, systemTimeMs: 0, maxRssKiB: 0 };
}
