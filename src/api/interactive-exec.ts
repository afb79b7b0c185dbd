/**
 * The WebSocket door: checks a request as HTTP before it upgrades, then hands the connection to a session. Behind it
 * are two routes: exec, whose program belongs to the connection, and attach, which only looks on and writes.
 */
import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { ShaleError, toShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { MIB } from "../lib/units.ts";
import type { AttachProcess, Sandboxes } from "../sandbox/types.ts";
import { FollowedProcess } from "./attached-process.ts";
import type { Guard } from "./authentication.ts";
import type { ForegroundProcesses } from "./foreground-process.ts";
import { InteractiveSession, type SessionProcess } from "./interactive-session.ts";
import { parsePathParameter } from "./path-parameters.ts";
import { noRoute, toErrorBody } from "./replies.ts";
import { type AttachQuery, attachQuery, interactiveExecRequest } from "./schemas/processes.ts";
import { parseInput } from "./validation.ts";

/** Of one message: an exec request, or a piece of stdin. */
const MESSAGE_BYTES = MIB;

/** What a closing handshake may take when the daemon stops. */
const CLOSING_MS = 500;

interface InteractiveOptions {
	readonly guard: Guard;
	readonly sandboxes: Sandboxes;
	readonly foregrounds: ForegroundProcesses;
	readonly log: Log;
}

/** What a request that was let in is for. */
interface Admission {
	readonly sandboxId: string;
	readonly awaitsRequest: boolean;
	readonly open: (request: unknown) => Promise<SessionProcess>;
}

export class InteractiveExec {
	readonly #options: InteractiveOptions;
	readonly #sessions = new Map<WebSocket, InteractiveSession>();
	/** Compression would cost memory for each connection, and loopback gains nothing by it. */
	readonly #sockets = new WebSocketServer({
		noServer: true,
		maxPayload: MESSAGE_BYTES,
		perMessageDeflate: false,
	});

	constructor(options: InteractiveOptions) {
		this.#options = options;
	}

	attach(server: Server): void {
		const { log, sandboxes } = this.#options;
		server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
			socket.on("error", () => socket.destroy());
			try {
				const admission = this.#admit(request);
				this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
					this.#sessions.set(webSocket, new InteractiveSession(webSocket, { ...admission, sandboxes, log }));
					webSocket.on("close", () => this.#sessions.delete(webSocket));
				});
			} catch (error) {
				refuse(socket, error, log);
			}
		});
	}

	/** Tells the clients that the daemon stops, and cuts those that do not answer. */
	close(): void {
		for (const session of this.#sessions.values()) session.restart();
		setTimeout(() => {
			for (const webSocket of this.#sockets.clients) webSocket.terminate();
		}, CLOSING_MS);
	}

	/** Throws ShaleError. */
	#admit({ headers, url = "" }: IncomingMessage): Admission {
		this.#options.guard(
			{ host: headers.host, origin: headers.origin, authorization: headers.authorization },
			{ open: false },
		);
		const { pathname, searchParams } = new URL(url, "http://localhost");
		const [, id, pid] = PATH.exec(pathname) ?? [];
		if (id === undefined) throw noRoute("WebSocket", pathname, []);
		const sandboxId = parsePathParameter("id", id);
		const admission =
			pid === undefined
				? this.#toExec(sandboxId, searchParams)
				: this.#toAttach(sandboxId, parsePathParameter("pid", pid), searchParams);
		this.#options.sandboxes.get(sandboxId);
		return admission;
	}

	#toExec(sandboxId: string, search: URLSearchParams): Admission {
		const [unknown] = search.keys();
		if (unknown !== undefined) {
			throw new ShaleError("invalid_argument", `unknown query parameter ${JSON.stringify(unknown)}`);
		}
		const open = async (value: unknown): Promise<SessionProcess> => {
			const request = parseInput(interactiveExecRequest, value);
			const attached = await this.#options.foregrounds.start(sandboxId, request);
			if (!request.stdin) return { attached, stdin: undefined };
			const offset = await attached.stdinOffset({ isNew: !request.resume });
			const write = (data: Buffer) => attached.writeStdin(data);
			return { attached, stdin: { offset, write, close: () => attached.process.closeStdin() } };
		};
		return { sandboxId, awaitsRequest: true, open };
	}

	#toAttach(sandboxId: string, processId: string, search: URLSearchParams): Admission {
		const { sandboxes } = this.#options;
		const query = parseInput(attachQuery, readQuery(search));
		const open = async (): Promise<SessionProcess> => {
			const asked = toAttachProcess(query);
			const { stdinEnd } = await sandboxes.getProcess(sandboxId, processId);
			if (query.stdin && stdinEnd === null) {
				throw new ShaleError("conflict", `process ${processId} of sandbox ${sandboxId} has no stdin`, {
					hint: "Attach without stdin, or start it with stdin.",
				});
			}
			const attached = new FollowedProcess(await sandboxes.attach(sandboxId, processId, asked), asked);
			if (!query.stdin) return { attached, stdin: undefined };
			const write = (data: Buffer) => sandboxes.writeStdin(sandboxId, processId, data);
			const close = () => sandboxes.closeStdin(sandboxId, processId);
			return { attached, stdin: { offset: stdinEnd ?? 0, write, close } };
		};
		return { sandboxId, awaitsRequest: false, open };
	}
}

/** `…/exec`, or `…/processes/{pid}/attach`. */
const PATH = /^\/v1\/sandboxes\/([^/]+)\/(?:exec|processes\/([^/]+)\/attach)$/;

/** What a query asks the core for. */
export function toAttachProcess(query: AttachQuery): AttachProcess {
	const { stdoutAfter, stderrAfter, tail, hold } = query;
	return { stdoutOffset: stdoutAfter, stderrOffset: stderrAfter, tailBytes: tail, hold };
}

function readQuery(search: URLSearchParams): Record<string, string> {
	const values: Record<string, string> = {};
	for (const [name, value] of search) {
		if (name in values) throw new ShaleError("invalid_argument", `${name}: must be given once`);
		values[name] = value;
	}
	return values;
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
