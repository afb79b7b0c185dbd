/**
 * A WebSocket whose memory is bounded both ways: what is sent is waited for until the kernel has it, and the socket is
 * not read while too many of its messages are still being dealt with.
 */
import type { RawData, WebSocket } from "ws";
import type { Log } from "../lib/log.ts";
import { KEEPALIVE_MS } from "./event-stream.ts";
import type { InteractiveEvent } from "./schemas/processes.ts";

/** Of messages that are not dealt with yet; beyond, the socket is not read. */
const WAITING_BYTES = 256 * 1024;

/** What a message costs beside its bytes, so that floods of small ones are bounded too. */
const MESSAGE_COST_BYTES = 1024;

/** While the socket is not read only writing shows that the client is gone. */
const PAUSED_PING_MS = 2_000;

export interface SocketListener {
	/** What it throws is its own failure, see {@link InteractiveSocket.close}. */
	onMessage(data: Buffer, isBinary: boolean): Promise<void>;
	/** Once, however it ended. */
	onClose(): void;
}

export class InteractiveSocket {
	readonly #socket: WebSocket;
	#waitingBytes = 0;
	#pausedPing: NodeJS.Timeout | undefined;
	#wasSent = false;

	constructor(socket: WebSocket, log: Log, { onMessage, onClose }: SocketListener) {
		this.#socket = socket;
		socket.on("message", (data, isBinary) => this.#receive(toBuffer(data), isBinary, onMessage));
		const keepalive = setInterval(() => this.#keepAlive(), KEEPALIVE_MS);
		socket.on("close", () => {
			clearInterval(keepalive);
			clearInterval(this.#pausedPing);
			onClose();
		});
		// A protocol error or a broken connection; `close` follows.
		socket.on("error", (error) => log.debug({ err: error }, "a WebSocket failed"));
	}

	get isOpen(): boolean {
		return this.#socket.readyState === this.#socket.OPEN;
	}

	sendEvent(event: InteractiveEvent): Promise<void> {
		return this.send(JSON.stringify(event));
	}

	/** Resolves when the kernel has taken it: that is the back-pressure. Rejects when the connection is gone. */
	send(data: string | Buffer): Promise<void> {
		this.#wasSent = true;
		return new Promise((resolve, reject) => {
			this.#socket.send(data, (error) => (error ? reject(error) : resolve()));
		});
	}

	close(code: number): void {
		// A paused socket would never see the client's half of the closing.
		this.#resume();
		this.#socket.close(code);
	}

	#receive(data: Buffer, isBinary: boolean, onMessage: SocketListener["onMessage"]): void {
		const cost = data.length + MESSAGE_COST_BYTES;
		this.#waitingBytes += cost;
		if (this.#waitingBytes > WAITING_BYTES) this.#pause();
		void onMessage(data, isBinary).then(() => {
			this.#waitingBytes -= cost;
			if (this.#waitingBytes <= WAITING_BYTES) this.#resume();
		});
	}

	#pause(): void {
		if (this.#socket.isPaused) return;
		this.#socket.pause();
		this.#pausedPing ??= setInterval(() => {
			if (this.#socket.bufferedAmount === 0) this.#socket.ping();
		}, PAUSED_PING_MS);
	}

	#resume(): void {
		clearInterval(this.#pausedPing);
		this.#pausedPing = undefined;
		this.#socket.resume();
	}

	/** To a client that has not taken the last message yet, nothing is added. */
	#keepAlive(): void {
		const isSilent = !this.#wasSent && this.#socket.bufferedAmount === 0;
		this.#wasSent = false;
		if (isSilent && this.isOpen) this.#socket.send('{"type":"keepalive"}');
	}
}

function toBuffer(data: RawData): Buffer {
	if (Buffer.isBuffer(data)) return data;
	return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
