/**
 * A process that belongs to a client's connection: when the client goes, its group is killed; when it ends, nothing
 * of it is kept. Output is read one chunk at a time, as fast as the client takes it; that is the back-pressure.
 */
import { toShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { OutputChunk, ProcessExit, RunningProcess, Sandboxes } from "../sandbox/types.ts";

export class ForegroundProcess {
	readonly process: RunningProcess;
	readonly #sandboxes: Sandboxes;
	readonly #sandboxId: string;
	readonly #log: Log;
	readonly #output: AsyncIterator<OutputChunk>;
	#reading: Promise<IteratorResult<OutputChunk>> | undefined;
	/** What `next` threw, and so has been told already. */
	#failure: unknown;
	#over = false;

	constructor(process: RunningProcess, owner: { sandboxes: Sandboxes; sandboxId: string; log: Log }) {
		this.process = process;
		this.#sandboxes = owner.sandboxes;
		this.#sandboxId = owner.sandboxId;
		this.#log = owner.log;
		this.#output = process.output()[Symbol.asyncIterator]();
		// Whoever awaits it sees the failure; when nobody does, it must not end the daemon.
		process.exited.catch(() => undefined);
	}

	/** The next chunk, or undefined at the end. One caller at a time. */
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

	/** After the last chunk: how it ended. */
	async finish(): Promise<ProcessExit> {
		const exit = await this.process.exited;
		this.#over = true;
		void this.#forget();
		return exit;
	}

	/** Writes all and closes. A program that stops reading early is no error: its exit tells what happened. */
	async feed(stdin: Uint8Array): Promise<void> {
		await this.process.writeStdin(stdin).catch(() => undefined);
		this.process.closeStdin();
	}

	/** The client is gone: kills the group and forgets the process. May be called at any time, and again. */
	async abandon(): Promise<void> {
		if (this.#over) return;
		this.#over = true;
		try {
			await this.#sandboxes.signalProcess(this.#sandboxId, this.process.id, {
				signal: "SIGKILL",
				group: true,
			});
			await this.#drain();
			await this.process.exited;
		} catch (error) {
			this.#report(error, "killing the process of a client that is gone");
			this.process.detach();
			return;
		}
		await this.#forget();
	}

	/** The exit comes after the output: what is left must be read, though nobody wants it. */
	async #drain(): Promise<void> {
		for (let part = await this.#reading; part?.done !== true; part = await this.#output.next());
	}

	async #forget(): Promise<void> {
		try {
			await this.#sandboxes.removeProcess(this.#sandboxId, this.process.id);
		} catch (error) {
			this.#report(error, "forgetting a process that has ended");
		}
	}

	#report(error: unknown, doing: string): void {
		// Its sandbox may have been destroyed meanwhile, and then there is nothing left to do.
		const { code } = toShaleError(error);
		if (error === this.#failure || code === "not_found" || code === "gone" || code === "unavailable") return;
		this.#log.warn({ err: error, sandbox: this.#sandboxId, process: this.process.id }, doing);
	}
}
