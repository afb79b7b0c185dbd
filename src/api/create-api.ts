/** The native API as a Hono app, made from the route table, and the HTTP server that it is built for. */
import { createServer, type Server } from "node:http";
import { getRequestListener, type HttpBindings } from "@hono/node-server";
import { Hono } from "hono";
import { ShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { createGuard } from "./authentication.ts";
import type { Daemon } from "./daemon-operations.ts";
import { ForegroundProcesses } from "./foreground-process.ts";
import { InteractiveExec } from "./interactive-exec.ts";
import { errorReply, noRoute } from "./replies.ts";
import { readHeaders, toHandler } from "./route-handler.ts";
import { ROUTES } from "./routes/index.ts";

export interface ApiOptions {
	readonly operations: Daemon;
	/** Everything but the open routes needs it. Without one only loopback names are answered. */
	readonly token?: string | undefined;
	readonly log: Log;
}

export type ApiApp = Hono<{ Bindings: HttpBindings }>;

export interface Api {
	readonly app: ApiApp;
	/** Answers the server's WebSocket upgrades. */
	handleUpgrade(server: Server): void;
	/** The daemon stops: ends all WebSockets. No connection that ends from now on takes its process along. */
	close(): void;
}

export function createApi({ operations, token, log }: ApiOptions): Api {
	const guard = createGuard(token);
	const { sandboxes } = operations;
	const foregrounds = new ForegroundProcesses({ sandboxes, log });
	const app: ApiApp = new Hono<{ Bindings: HttpBindings }>();
	for (const route of ROUTES) {
		app.on(
			route.method,
			toHonoPath(route.path),
			toHandler(route, { guard, daemon: operations, foregrounds, log }),
		);
	}
	app.notFound((context) => {
		const { method, path } = context.req;
		try {
			guard(readHeaders(context), { open: false });
			throw noRoute(method, path, allowedMethods(path));
		} catch (error) {
			return errorReply(error, log, path);
		}
	});
	app.onError((error, { req }) => errorReply(error, log, `${req.method} ${req.path}`));
	const interactive = new InteractiveExec({ guard, sandboxes, foregrounds, log });
	const close = () => {
		foregrounds.stop();
		interactive.close();
	};
	return { app, handleUpgrade: (server) => interactive.attach(server), close };
}

/** As Hono writes paths. */
export function toHonoPath(path: string): string {
	return path.replaceAll(/\{(\w+)\}/g, ":$1");
}

const PATHS = ROUTES.map(({ method, path }) => ({
	method,
	pattern: new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`),
}));

function allowedMethods(path: string): string[] {
	return PATHS.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);
}

/** Vanished clients are found by the kernel after this silence and nine probes, tcp(7). */
const KEEPALIVE_MS = 30_000;

/** Longer than clients keep idle connections (undici 4 s, browsers 60 s), so that it is they who close them. */
const IDLE_CONNECTION_MS = 65_000;

/** Of a whole request; uploads of layers are the long ones. JSON bodies have a shorter deadline of their own. */
const REQUEST_MS = 3_600_000;

/** A server that answers with the API, WebSockets included; the caller listens and closes. */
export function createApiServer(api: Api, log: Log): Server {
	const listener = getRequestListener(api.app.fetch, {
		errorHandler: (error) =>
			errorReply(
				new ShaleError(
					"invalid_argument",
					`the request line or the Host header is not valid: ${String(error)}`,
				),
				log,
				"reading a request",
			),
	});
	const server = createServer(
		{
			noDelay: true,
			keepAlive: true,
			keepAliveInitialDelay: KEEPALIVE_MS,
			keepAliveTimeout: IDLE_CONNECTION_MS,
			requestTimeout: REQUEST_MS,
			// Other upgrades (h2c, as curl --http2 offers) are declined by answering in HTTP/1.1.
			shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === "websocket",
		},
		(incoming, outgoing) => void listener(incoming, outgoing),
	);
	api.handleUpgrade(server);
	return server;
}
