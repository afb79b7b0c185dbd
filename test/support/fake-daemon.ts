/**
 * A daemon without sandboxes, for the tests of the SDK and the CLI: it speaks the API as docs/api.md has it, and
 * runs a few programs of its own, over NDJSON and over WebSockets alike.
 */

import { isUtf8 } from "node:buffer";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { garbage, LEAK, tellEvents } from "./fake-operations.ts";
import { PROGRAMS, type Run } from "./fake-programs.ts";

type Json = Record<string, unknown>;

type Reply = (status: number, value?: unknown) => unknown;

interface SeenRequest {
	readonly method: string;
	readonly path: string;
	readonly body: Json | undefined;
	readonly headers: IncomingMessage["headers"];
}

export class FakeDaemon {
	readonly url: string;
	readonly requests: SeenRequest[] = [];
	readonly sandboxes = new Map<string, Json>();
	/** Runs whose client went away before their end. */
	killed = 0;
	/** Answers with this instead of a sandbox. */
	refuseCreate: { readonly status: number; readonly body: Json } | undefined;
	/** What nobody owns. */
	leaks: readonly Json[] = [LEAK];
	/** Leaves a created sandbox's answer out until it is released. */
	holdCreate: Promise<void> | undefined;
	readonly #server: Server;
	readonly #runs = new Map<string, Run>();

	private constructor(server: Server) {
		this.#server = server;
		this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
		const sockets = new WebSocketServer({ noServer: true });
		server.on("request", (request, response) => void this.#answer(request, response));
		server.on("upgrade", (request, socket, head) => {
			if (!this.sandboxes.has(idIn(request.url))) {
				socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
				return;
			}
			this.#note(request, undefined);
			sockets.handleUpgrade(request, socket, head, (webSocket) => this.#session(webSocket));
		});
	}

	static async start(): Promise<FakeDaemon> {
		const server = createServer();
		server.listen(0, "127.0.0.1");
		await once(server, "listening");
		return new FakeDaemon(server);
	}

	addSandbox(fields: Json = {}): string {
		const id = String(fields.id ?? `sb-${this.sandboxes.size + 1}`);
		const limits = {
			cpuMillis: 1000,
			memoryMiB: 512,
			swapMiB: 0,
			processes: 64,
			openFiles: 1024,
			diskMiB: 100,
		};
		this.sandboxes.set(id, {
			id,
			name: null,
			state: "running",
			reason: null,
			backend: "namespace",
			layers: ["000-base-debian"],
			env: {},
			user: "",
			workdir: "/",
			hostname: id,
			labels: {},
			upper: "tmpfs",
			network: "none",
			createdAt: "2026-01-01T00:00:00.000Z",
			expiresAt: null,
			idleTimeoutMs: null,
			onExpiry: "destroy",
			...fields,
			limits: { ...limits, ...(fields.limits as Json | undefined) },
		});
		return id;
	}

	paths(method: string): string[] {
		return this.requests.filter((seen) => seen.method === method).map(({ path }) => path);
	}

	async [Symbol.asyncDispose](): Promise<void> {
		const closed = once(this.#server, "close");
		this.#server.close();
		this.#server.closeAllConnections();
		await closed;
	}

	#note({ method = "", url = "", headers }: IncomingMessage, body: Json | undefined): void {
		this.requests.push({ method, path: url, headers, body });
	}

	async #answer(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
		let text = "";
		for await (const chunk of request) text += String(chunk);
		const isJson = request.headers["content-type"] === "application/json";
		const body: Json | undefined = isJson ? JSON.parse(text) : undefined;
		this.#note(request, body);
		const { pathname, searchParams } = new URL(request.url ?? "", this.url);
		const reply: Reply = (status, value) => {
			response.writeHead(status, value === undefined ? {} : { "Content-Type": "application/json" });
			response.end(value === undefined ? undefined : JSON.stringify(value));
		};
		const [, , resource = "", id = "", sub = "", subId = "", action = ""] = pathname.split("/");
		if (pathname === "/healthz") return reply(200, { status: "ok" });
		if (pathname === "/v1/version") return reply(200, { version: "9.9.9", node: "v24.0.0", kernel: "6.1.0" });
		if (pathname === "/v1/plan") return response.end("mount proc /proc\n");
		if (pathname === "/v1/events") return tellEvents(response);
		if (pathname === "/v1/gc") return reply(200, garbage(body ?? {}, this.leaks));
		if (resource === "layers") return this.#layers(request.method ?? "", { id, sub, text, response, reply });
		if (resource === "recipes") {
			return reply(200, { recipes: [{ name: "100-python3", kind: "debian", description: "Python" }] });
		}
		if (resource !== "sandboxes") return reply(404, { code: "not_found", message: `no ${pathname}` });
		if (id === "" && request.method === "POST") return await this.#create(body ?? {}, reply);
		if (id === "") return this.#list(searchParams, reply);
		const sandbox = this.sandboxes.get(id);
		if (!sandbox)
			return reply(404, { code: "not_found", message: `there is no sandbox ${id}`, hint: "See ls." });
		if (sub === "exec" && this.#runs.has(String(body?.id))) return reply(404, FORGOTTEN);
		if (sub === "exec") return this.#stream(body ?? {}, response);
		if (sub === "plan") return response.end("clone user mount\n");
		if (sub === "stats") return reply(200, STATS);
		if (sub === "processes")
			return this.#processes(request.method ?? "", { subId, action, body, response, reply });
		const changed = this.#change(sandbox, { action: sub, body });
		if (changed) return reply(200, changed);
		if (request.method === "DELETE") this.sandboxes.delete(id);
		return request.method === "DELETE" ? reply(204) : reply(200, sandbox);
	}

	async #create(body: Json, reply: Reply): Promise<unknown> {
		if (this.refuseCreate) return reply(this.refuseCreate.status, this.refuseCreate.body);
		const id = this.addSandbox(
			Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined)),
		);
		await this.holdCreate;
		return reply(201, this.sandboxes.get(id));
	}

	/** Undefined for what is no step of a sandbox's life. */
	#change(sandbox: Json, { action, body }: { action: string; body: Json | undefined }): Json | undefined {
		if (action === "stop") return Object.assign(sandbox, { state: "stopped" });
		if (action === "start") return Object.assign(sandbox, { state: "running" });
		if (action !== "extend") return undefined;
		const expiresAt = body?.lifetimeMs == null ? null : `2026-01-01T00:00:00.${body.lifetimeMs}Z`;
		return Object.assign(sandbox, { expiresAt });
	}

	/** Two a page, so that pages are turned. */
	#list(search: URLSearchParams, reply: Reply): void {
		const all = [...this.sandboxes.values()].filter(
			({ name, state }) =>
				(!search.has("name") || search.get("name") === name) &&
				(!search.has("state") || search.get("state") === state),
		);
		const start = Number(search.get("cursor") ?? 0);
		const cursor = start + 2 < all.length ? String(start + 2) : null;
		reply(200, { sandboxes: all.slice(start, start + 2), cursor });
	}

	#layers(
		method: string,
		call: {
			readonly id: string;
			readonly sub: string;
			readonly text: string;
			readonly response: ServerResponse;
			readonly reply: Reply;
		},
	): unknown {
		const layer = (name: string, sizeBytes: number): Json => ({
			name,
			digest: `sha256:${"0".repeat(64)}`,
			sizeBytes,
			createdAt: "2026-01-01T00:00:00.000Z",
			sources: [],
		});
		if (method === "GET" && call.id === "")
			return call.reply(200, { layers: [layer("000-base-debian", 1048576)] });
		if (method === "PUT") return call.reply(201, layer(call.id, call.text.length));
		if (method === "DELETE") return call.reply(409, { code: "conflict", message: `${call.id} is in use` });
		if (call.sub !== "build") return call.reply(200, layer(call.id, 1));
		const events = [
			{ type: "progress", step: "fetch", percent: 50, message: "a.deb" },
			{ type: "progress", step: "pack" },
			call.id === "broken"
				? { type: "error", code: "unsupported", message: "mmdebstrap is not installed", hint: "Install it." }
				: { type: "layer", layer: layer(call.id, 2048) },
		];
		call.response.end(events.map((event) => `${JSON.stringify(event)}\n`).join("\n"));
	}

	#processes(
		method: string,
		call: {
			readonly subId: string;
			readonly action: string;
			readonly body: Json | undefined;
			readonly response: ServerResponse;
			readonly reply: Reply;
		},
	): unknown {
		const info = (id: string, argv: unknown): Json => ({ ...PROCESS, id, argv });
		if (method === "POST" && call.subId === "")
			return call.reply(201, info(String(call.body?.id), call.body?.argv));
		if (method === "GET" && call.subId === "")
			return call.reply(200, { processes: [info("p-1", ["sleep", "1"])] });
		if (call.action === "signal") {
			this.#runs.get(call.subId)?.onSignal(String(call.body?.signal));
			return call.reply(204);
		}
		if (call.action === "output") {
			const events = [
				{ type: "dropped", stream: "stdout", bytes: 10, offset: 0 },
				{ type: "stdout", offset: 10, text: "kept\n" },
				{ type: "stderr", offset: 0, text: "warned\n" },
				{ type: "end" },
			];
			return call.response.end(events.map((event) => `${JSON.stringify(event)}\n`).join(""));
		}
		return method === "DELETE" ? call.reply(204) : call.reply(200, info(call.subId, ["sleep", "1"]));
	}

	#start(request: Json, send: Sender): Run {
		const argv = request.argv as string[];
		const id = String(request.id);
		const offsets = { stdout: 0, stderr: 0 };
		const run: Run = {
			argv,
			isOver: false,
			onSignal: () => undefined,
			onStdin: () => undefined,
			async write(stream, data) {
				const bytes = Buffer.from(data as Uint8Array);
				const offset = offsets[stream];
				offsets[stream] += bytes.length;
				await send.output(stream, offset, bytes);
			},
			exit(exitCode, signal) {
				run.isOver = true;
				const usage = { timedOut: false, userTimeMs: 1, systemTimeMs: 2, maxRssKiB: 3 };
				send.last({ type: "exit", exitCode, signal: signal ?? null, ...usage });
			},
			fail(code, message) {
				run.isOver = true;
				send.last({ type: "error", code, message });
			},
			cut() {
				run.isOver = true;
				send.cut();
			},
		};
		this.#runs.set(id, run);
		send.event({ type: "started", processId: id, guestPid: 7, stdinOffset: 0 });
		const program = PROGRAMS[argv[0] ?? ""];
		if (program) void program(run);
		else
			void run
				.write("stderr", `shale: exec ${argv[0]}: No such file or directory\n`)
				.then(() => run.exit(127));
		return run;
	}

	#stream(body: Json, response: ServerResponse): void {
		response.writeHead(200, { "Content-Type": "application/x-ndjson" });
		const event = (value: Json): boolean => response.write(`${JSON.stringify(value)}\n`);
		const run = this.#start(body, {
			event,
			async output(stream, offset, bytes) {
				const data = isUtf8(bytes) ? { text: bytes.toString() } : { base64: bytes.toString("base64") };
				if (event({ type: stream, offset, ...data }) || response.destroyed) return;
				await drained(response);
			},
			last: (value) => response.end(`${JSON.stringify(value)}\n`),
			cut: () => response.destroy(),
		});
		response.on("close", () => this.#abandon(run));
		if (typeof body.stdin === "string") run.onStdin(Buffer.from(body.stdin));
		if (typeof body.stdinBase64 === "string") run.onStdin(Buffer.from(body.stdinBase64, "base64"));
		run.onStdin(undefined);
	}

	#session(webSocket: WebSocket): void {
		const event = (value: Json): void => webSocket.send(JSON.stringify(value));
		let run: Run | undefined;
		let stdinOffset = 0;
		const begin = (request: Json): Run => {
			this.requests.push({ method: "WS", path: "", headers: {}, body: request });
			return this.#start(request, {
				event,
				async output(stream, offset, bytes) {
					const header = Buffer.alloc(9);
					header.writeUInt8(stream === "stdout" ? 1 : 2);
					header.writeBigUInt64BE(BigInt(offset), 1);
					await new Promise<void>((resolve) => {
						webSocket.send(Buffer.concat([header, bytes]), () => resolve());
					});
				},
				last: (value) => {
					event(value);
					webSocket.close(1000);
				},
				cut: () => webSocket.terminate(),
			});
		};
		webSocket.on("message", (data: RawData, isBinary) => {
			if (isBinary) {
				run?.onStdin(data as Buffer);
				stdinOffset += (data as Buffer).length;
				event({ type: "stdin", offset: stdinOffset });
				return;
			}
			const message: Json = JSON.parse(String(data));
			if (!run && this.#runs.has(String(message.id))) {
				event({ type: "error", ...FORGOTTEN });
				webSocket.close(1008);
			} else if (!run) run = begin(message);
			else if (message.type === "stdin_close") run.onStdin(undefined);
			else if (message.type === "signal") run.onSignal(String(message.signal));
			else this.requests.push({ method: "WS", path: "", headers: {}, body: message });
		});
		webSocket.on("close", () => this.#abandon(run));
	}

	#abandon(run: Run | undefined): void {
		if (!run || run.isOver) return;
		run.isOver = true;
		this.killed++;
	}
}

/** Resolves when more can be written, or nothing can any more. */
async function drained(response: ServerResponse): Promise<void> {
	const settled = new AbortController();
	const events = [once(response, "drain", settled), once(response, "close", settled)];
	await Promise.race(events);
	settled.abort();
	await Promise.allSettled(events);
}

/** Nothing is kept of runs: a client that comes back finds nothing to follow. */
const FORGOTTEN = { code: "not_found", message: "the run is forgotten" };

interface Sender {
	readonly event: (event: Json) => void;
	readonly output: (stream: "stdout" | "stderr", offset: number, bytes: Buffer) => Promise<void>;
	readonly last: (event: Json) => void;
	readonly cut: () => void;
}

function idIn(path = ""): string {
	return path.split("/")[3] ?? "";
}

const STATS = {
	memoryBytes: 1048576,
	memoryPeakBytes: 2097152,
	memoryLimitBytes: 536870912,
	cpuUsageUs: 1500000,
	cpuThrottledUs: 0,
	processes: 2,
	oomKills: 0,
};

const PROCESS = {
	guestPid: 7,
	state: "exited",
	terminal: false,
	stdinEnd: null,
	startedAt: "2026-01-01T00:00:00.000Z",
	endedAt: "2026-01-01T00:00:01.000Z",
	exitCode: 0,
	signal: null,
	timedOut: false,
	stdoutStart: 10,
	stdoutEnd: 15,
	stderrStart: 0,
	stderrEnd: 7,
};
