/** Puts the API on its address, and notes every request for the idle exit. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { createApi, createApiServer } from "../api/create-api.ts";
import type { Daemon } from "../api/daemon-operations.ts";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Config } from "./config.ts";
import { startIdleExit } from "./idle-exit.ts";

/** For the last answers of a server that stops, which tell the clients why. */
const LAST_ANSWERS_MS = 250;

export interface ListenOptions {
	readonly config: Config;
	readonly operations: Daemon;
	readonly log: Log;
	readonly idleExit: { readonly afterMs: number; readonly onIdle: () => void } | undefined;
	readonly isBusy: () => boolean;
}

export interface Listening {
	readonly url: string;
	/** Takes no more requests and cuts those under way. */
	close(): Promise<void>;
}

export async function listen({
	config,
	operations,
	log,
	idleExit,
	isBusy,
}: ListenOptions): Promise<Listening> {
	const api = createApi({ operations, token: config.token, log });
	const server = createApiServer(api, log);
	const idle = idleExit && startIdleExit({ afterMs: idleExit.afterMs, isBusy, stop: idleExit.onIdle });
	if (idle) server.on("request", () => idle.touch()).on("upgrade", () => idle.touch());
	server.listen(config.listenPort, config.listenHost);
	await once(server, "listening").catch((error: unknown) => {
		idle?.cancel();
		throw toListenError(error, config.listen);
	});
	const address = server.address();
	const port = typeof address === "object" && address ? address.port : config.listenPort;
	const host = config.listenHost.includes(":") ? `[${config.listenHost}]` : config.listenHost;
	return {
		url: `http://${host}:${port}`,
		async close() {
			idle?.cancel();
			api.close();
			const closed = once(server, "close");
			server.close();
			await Promise.race([closed, sleep(LAST_ANSWERS_MS, undefined, { ref: false })]);
			server.closeAllConnections();
			await closed;
		},
	};
}

function toListenError(error: unknown, listenAddress: string): ShaleError {
	const isTaken = errnoCode(error) === "EADDRINUSE";
	return new ShaleError(
		isTaken ? "conflict" : "invalid_argument",
		`listening on ${listenAddress}: ${String(error)}`,
		{
			hint: isTaken
				? "Another program listens there: stop it, or set SHALE_LISTEN to another port."
				: "Set SHALE_LISTEN to an address of this machine.",
			cause: error,
		},
	);
}
