/** Our stdin to a program's, no faster than it reads. */
import type { CommandSession } from "../../sdk/src/index.ts";
import { DetachKeys, SECOND_KEY_MS } from "./detach-keys.ts";

export interface StdinOptions {
	/** The end of ours is the end of the program's. Default true. */
	readonly closes?: boolean;
	/** Called for Ctrl-P Ctrl-Q, which is then not forwarded; nothing is after that. */
	readonly onDetach?: () => void;
}

export class StdinForwarder {
	readonly #session: CommandSession;
	readonly #options: StdinOptions;
	readonly #keys = new DetachKeys();
	#isStopped = false;
	#secondKey: NodeJS.Timeout | undefined;

	/** Begins at once. */
	constructor(session: CommandSession, options: StdinOptions = {}) {
		this.#session = session;
		this.#options = options;
		process.stdin.on("data", this.#onData).on("end", this.#onEnd).on("error", this.#onEnd);
	}

	/** Stdin is closed here afterwards. May be called again. */
	stop(): void {
		this.#isStopped = true;
		clearTimeout(this.#secondKey);
		process.stdin.off("data", this.#onData).off("end", this.#onEnd);
		process.stdin.pause();
		process.stdin.destroy();
	}

	#forward(data: Uint8Array): void {
		if (data.length === 0) return;
		const { stdin } = process;
		stdin.pause();
		this.#session.write(data).then(
			() => {
				if (!this.#isStopped) stdin.resume();
			},
			// The connection's failure is reported by the session's output.
			() => undefined,
		);
	}

	readonly #onData = (chunk: Uint8Array): void => {
		const { onDetach } = this.#options;
		if (!onDetach) {
			this.#forward(chunk);
			return;
		}
		clearTimeout(this.#secondKey);
		const { data, isDetach } = this.#keys.push(chunk);
		this.#forward(data);
		if (isDetach) onDetach();
		else if (this.#keys.isHalf) {
			this.#secondKey = setTimeout(() => this.#forward(this.#keys.flush()), SECOND_KEY_MS);
		}
	};

	readonly #onEnd = (): void => {
		if (this.#options.closes ?? true) this.#session.closeStdin();
	};
}
