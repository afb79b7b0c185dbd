/**
 * One keep-alive HTTP/1.1 connection that does as little as a client can, so that what is measured is the
 * server. Requests go one after another; answers must carry Content-Length.
 */
import { connect, type Socket } from "node:net";

export interface Answer {
	readonly status: number;
	readonly body: string;
}

export class HttpConnection {
	readonly #socket: Socket;
	#received: Buffer = Buffer.alloc(0);
	#waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;

	private constructor(socket: Socket) {
		this.#socket = socket;
		socket.setNoDelay(true);
		socket.on("data", (chunk) => this.#receive(chunk));
		socket.on("close", () => this.#waiting?.reject(new Error("the daemon closed the connection")));
	}

	static async open(port: number): Promise<HttpConnection> {
		const socket = connect(port, "127.0.0.1");
		await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
		return new HttpConnection(socket);
	}

	request(method: string, path: string, body?: unknown): Promise<Answer> {
		const json = body === undefined ? "" : JSON.stringify(body);
		const type = body === undefined ? "" : "content-type: application/json\r\n";
		const length = `content-length: ${Buffer.byteLength(json)}\r\n`;
		this.#socket.write(`${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${type}${length}\r\n${json}`);
		return new Promise((resolve, reject) => {
			this.#waiting = { resolve, reject };
		});
	}

	close(): void {
		this.#waiting = undefined;
		this.#socket.destroy();
	}

	#receive(chunk: Buffer): void {
		this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
		const headEnd = this.#received.indexOf("\r\n\r\n");
		if (headEnd < 0) return;
		const head = this.#received.toString("latin1", 0, headEnd);
		const bodyEnd = headEnd + 4 + Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
		if (this.#received.length < bodyEnd) return;
		const body = this.#received.toString("utf8", headEnd + 4, bodyEnd);
		this.#received = this.#received.subarray(bodyEnd);
		const waiting = this.#waiting;
		this.#waiting = undefined;
		waiting?.resolve({ status: Number(head.slice(9, 12)), body });
	}
}
