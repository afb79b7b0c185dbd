/** The WebSocket door: checks a request as HTTP before it upgrades, then hands the connection to a session. */
import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { toShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { MIB } from "../lib/units.ts";
import type { Sandboxes } from "../sandbox/types.ts";
import type { Guard } from "./authentication.ts";
import { InteractiveSession } from "./interactive-session.ts";
import { parsePathParameter } from "./path-parameters.ts";
import { noRoute, toErrorBody } from "./replies.ts";

/** Of one message: an exec request, or a piece of stdin. */
const MESSAGE_BYTES = MIB;

export class InteractiveExec {
	readonly #guard: Guard;
	readonly #sandboxes: Sandboxes;
	readonly #log: Log;
	/** Compression would cost memory for each connection, and loopback gains nothing by it. */
	readonly #sockets = new WebSocketServer({
		noServer: true,
		maxPayload: MESSAGE_BYTES,
		perMessageDeflate: false,
	});

	constructor(options: { readonly guard: Guard; readonly sandboxes: Sandboxes; readonly log: Log }) {
		this.#guard = options.guard;
		this.#sandboxes = options.sandboxes;
		this.#log = options.log;
	}

	attach(server: Server): void {
		server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
			socket.on("error", () => socket.destroy());
			try {
				const sandboxId = this.#admit(request);
				this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
					new InteractiveSession(webSocket, { sandboxes: this.#sandboxes, sandboxId, log: this.#log }).run();
				});
			} catch (error) {
				refuse(socket, error, this.#log);
			}
		});
	}

	close(): void {
		for (const webSocket of this.#sockets.clients) webSocket.terminate();
	}

	/** The sandbox that the request is for; throws ShaleError. */
	#admit({ headers, url = "" }: IncomingMessage): string {
		this.#guard(
			{ host: headers.host, origin: headers.origin, authorization: headers.authorization },
			{ open: false },
		);
		const { pathname } = new URL(url, "http://localhost");
		const id = /^\/v1\/sandboxes\/([^/]+)\/exec$/.exec(pathname)?.[1];
		if (id === undefined) throw noRoute("WebSocket", pathname, []);
		const sandboxId = parsePathParameter("id", id);
		this.#sandboxes.get(sandboxId);
		return sandboxId;
	}
}

function refuse(socket: Duplex, error: unknown, log: Log): void {
	const { status } = toShaleError(error);
	const body = JSON.stringify(toErrorBody(error, log, "upgrading to a WebSocket"));
	socket.end(
		[
			`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Error"}`,
			"Connection: close",
			"Content-Type: application/json; charset=utf-8",
			`Content-Length: ${Buffer.byteLength(body)}`,
			...(status === 401 ? ["WWW-Authenticate: Bearer"] : []),
			"",
			body,
		].join("\r\n"),
	);
}
