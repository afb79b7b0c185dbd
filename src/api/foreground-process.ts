/**
 * Programs that belong to a client's connection: when the client goes, the group is killed. When the daemon goes,
 * nobody has left: the programs wait for their clients, which come back to the next daemon by the ids that they chose.
 */
import { ShaleError, toShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { OutputChunk, ProcessExit, RunningProcess, Sandboxes, StartProcess } from "../sandbox/types.ts";
import type { AttachedProcess } from "./attached-process.ts";
import type { ExpectedOffsets } from "./output-gaps.ts";

export interface StartForeground extends StartProcess {
	/** Only follow the run of this id. */
	readonly resume?: boolean | undefined;
}

/** Those of one API, each with its latest client. */
export class ForegroundProcesses {
	readonly #sandboxes: Sandboxes;
	readonly #log: Log;
	/** By sandbox and process. */
	readonly #owners = new Map<string, ForegroundProcess>();
	/** Calls that are under way. */
	readonly #calls = new Set<AbortController>();
	/** Of the daemon's stop, once that has begun. */
	#stopReason: ShaleError | undefined;

	constructor(options: { readonly sandboxes: Sandboxes; readonly log: Log }) {
		this.#sandboxes = options.sandboxes;
		this.#log = options.log;
	}

	/**
	 * Starts a program, or follows the run of the same request.
	 * @throws ShaleError as {@link Sandboxes.start}, and `not_found` when there is no run to resume.
	 */
	async start(
		sandboxId: string,
		{ resume = false, ...request }: StartForeground,
	): Promise<ForegroundProcess> {
		const { id } = request;
		if (resume && id !== undefined) await this.#sandboxes.getProcess(sandboxId, id);
		const process = await this.#sandboxes.start(sandboxId, request);
		const key = `${sandboxId}/${process.id}`;
		const previous = this.#owners.get(key);
		const foreground: ForegroundProcess = new ForegroundProcess(process, {
			previous,
			sandboxes: this.#sandboxes,
			sandboxId,
			isNamed: id !== undefined,
			log: this.#log,
			isOwner: () => !this.#stopReason && this.#owners.get(key) === foreground,
			onOver: () => {
				if (this.#owners.get(key) === foreground) this.#owners.delete(key);
			},
		});
		// A client that came back before its old connection was found dead has it now.
		this.#owners.set(key, foreground);
		return foreground;
	}

	/** The call's signal aborts when the client is gone, and with `unavailable` when it is the daemon that goes. */
	async during<T>(connection: AbortSignal, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
		// Its connection will be cut, which must not look like a client that has left.
		if (this.#stopReason) throw this.#stopReason;
		const abort = new AbortController();
		const onLeave = () => abort.abort(connection.reason);
		if (connection.aborted) onLeave();
		else connection.addEventListener("abort", onLeave, { once: true });
		this.#calls.add(abort);
		try {
			return await call(abort.signal);
		} finally {
			this.#calls.delete(abort);
			connection.removeEventListener("abort", onLeave);
		}
	}

	/** The daemon stops: connections that end from now on end nothing else. */
	stop(): void {
		this.#stopReason = new ShaleError("unavailable", "the daemon stops, and the program goes on", {
			hint: "A program whose id you chose is followed by the same request to the next daemon.",
		});
		for (const abort of this.#calls) abort.abort(this.#stopReason);
	}
}

interface Surroundings {
	/** The connection that had it until now. */
	readonly previous: ForegroundProcess | undefined;
	readonly sandboxes: Sandboxes;
	readonly sandboxId: string;
	/** The client chose its id, and may have come back to it. */
	readonly isNamed: boolean;
	readonly log: Log;
	readonly isOwner: () => boolean;
	readonly onOver: () => void;
}

export class ForegroundProcess implements AttachedProcess {
	readonly process: RunningProcess;
	/** Its client reads from the beginning, also when it comes back: what it has already, it skips. */
	readonly expected: ExpectedOffsets = { stdout: 0, stderr: 0 };
	readonly #surroundings: Surroundings;
	readonly #output: AsyncIterator<OutputChunk>;
	#reading: Promise<IteratorResult<OutputChunk>> | undefined;
	/** What `next` threw, and so has been told already. */
	#failure: unknown;
	#over = false;
	/** Offset of stdin after all that was handed on, be it written or still on its way; undefined until it is asked for. */
	#stdinEnd: number | undefined;
	#isSuperseded = false;

	constructor(process: RunningProcess, surroundings: Surroundings) {
		this.process = process;
		this.#surroundings = surroundings;
		if (surroundings.previous) surroundings.previous.#isSuperseded = true;
		this.#output = process.output()[Symbol.asyncIterator]();
		// Whoever awaits it sees the failure; when nobody does, it must not end the daemon.
		process.exited.catch(() => undefined);
	}

	async next(): Promise<OutputChunk | undefined> {
		try {
			this.#reading = this.#output.next();
			const { done, value } = await this.#reading;
			return done ? undefined : value;
		} catch (error) {
			this.#failure = error;
			throw error;
		}
	}

	async finish(): Promise<ProcessExit> {
		const exit = await this.process.exited;
		this.#end();
		return exit;
	}

	/**
	 * Of the next byte of stdin that it takes: above 0 for a run that an earlier connection has written to. `isNew`: none
	 * can have, unless it is still there.
	 */
	async stdinOffset({ isNew }: { readonly isNew: boolean }): Promise<number> {
		const { sandboxes, sandboxId, previous } = this.#surroundings;
		if (previous) this.#stdinEnd = previous.#stdinEnd;
		else if (isNew) this.#stdinEnd = 0;
		this.#stdinEnd ??= (await sandboxes.getProcess(sandboxId, this.process.id)).stdinEnd ?? 0;
		return this.#stdinEnd;
	}

	/** After {@link stdinOffset}. What comes late over a connection that another has replaced comes over that one too. */
	async writeStdin(data: Uint8Array): Promise<void> {
		if (this.#isSuperseded) return;
		this.#stdinEnd = (this.#stdinEnd ?? 0) + data.length;
		await this.process.writeStdin(data);
	}

	/** Writes what it has not got yet and closes. A program that stops reading early is no error: its exit tells. */
	async feed(stdin: Uint8Array): Promise<void> {
		try {
			await this.writeStdin(stdin.subarray(await this.stdinOffset({ isNew: !this.#surroundings.isNamed })));
			this.process.closeStdin();
		} catch (error) {
			this.#report(error, "feeding a program its stdin");
		}
	}

	/** Kills the group, unless the daemon stops or another connection has the program. */
	leave(): void {
		if (this.#over) return;
		const isOwner = this.#surroundings.isOwner();
		this.#end();
		if (isOwner) void this.#kill();
		else this.process.detach();
	}

	#end(): void {
		this.#over = true;
		this.#surroundings.onOver();
	}

	async #kill(): Promise<void> {
		const { sandboxes, sandboxId } = this.#surroundings;
		try {
			await sandboxes.signalProcess(sandboxId, this.process.id, { signal: "SIGKILL", group: true });
			await this.#drain();
		} catch (error) {
			this.#report(error, "killing the process of a client that is gone");
			this.process.detach();
		}
	}

	/** The exit comes after the output: what is left must be read, though nobody wants it. */
	async #drain(): Promise<void> {
		for (let part = await this.#reading; part?.done !== true; part = await this.#output.next());
		await this.process.exited;
	}

	#report(error: unknown, doing: string): void {
		const { sandboxId, log } = this.#surroundings;
		// It, or its sandbox, has ended meanwhile, and then there is nothing left to do.
		if (error === this.#failure || EXPECTED.has(toShaleError(error).code)) return;
		log.warn({ err: error, sandbox: sandboxId, process: this.process.id }, doing);
	}
}

const EXPECTED: ReadonlySet<string> = new Set(["not_found", "gone", "conflict", "unavailable"]);
