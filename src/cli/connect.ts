/** The verbs' way to the daemon; one is started when none runs on this machine. */
import {
	type Sandbox,
	Shale,
	ShaleApiError,
	ShaleConnectionError,
	systemErrorCode,
	type WebSocketConstructor,
} from "../../sdk/src/index.ts";
import { ShaleError } from "../lib/errors.ts";
import { nodeHttp } from "./node-http.ts";
import { readClientSettings, toLoopbackListen } from "./settings.ts";

export interface ConnectOptions {
	/** Take `ws` for sessions: unlike the built-in WebSocket it can be paused while our stdout is slow. */
	readonly sessions?: boolean;
	readonly signal?: AbortSignal;
}

/** A client of a daemon that has answered. @throws ShaleError `unavailable` when there is none and none starts. */
export async function connect({ sessions = false, signal }: ConnectOptions = {}): Promise<Shale> {
	const { url, token, data } = await readClientSettings();
	const WebSocket = sessions
		? ((await import("ws")).WebSocket as unknown as WebSocketConstructor)
		: undefined;
	const shale = new Shale({ url, token, WebSocket, http: nodeHttp });
	try {
		await shale.health({ signal });
	} catch (error) {
		if (systemErrorCode(error) !== "ECONNREFUSED") throw withHint(error, url);
		const listen = toLoopbackListen(url);
		if (listen === undefined) throw withHint(error, url);
		const { startDaemon } = await import("./daemon-autostart.ts");
		await startDaemon({ listen, data, isUp: () => answers(shale), signal });
	}
	return shale;
}

/** A client of the daemon that runs, without starting one. */
export async function connectToRunning(): Promise<Shale> {
	const { url, token } = await readClientSettings();
	return new Shale({ url, token, http: nodeHttp });
}

async function answers(shale: Shale): Promise<boolean> {
	try {
		await shale.health({ signal: AbortSignal.timeout(2000) });
		return true;
	} catch {
		return false;
	}
}

function withHint(error: unknown, url: string): unknown {
	if (error instanceof ShaleConnectionError) {
		return new ShaleError("unavailable", error.message, {
			hint: "SHALE_URL says where the daemon is; it is started with: shale serve",
			cause: error,
		});
	}
	if (error instanceof ShaleApiError) {
		return new ShaleError("unavailable", `what answers at ${url} is no daemon of Shale: ${error.message}`, {
			cause: error,
		});
	}
	return error;
}

/**
 * Runs `action` on the sandbox that the user named by id, or, when there is no such id, by name.
 * `action` must not have had an effect when it throws `not_found`.
 */
export async function withSandbox<T>(
	shale: Shale,
	idOrName: string,
	action: (sandbox: Sandbox) => Promise<T>,
): Promise<T> {
	try {
		return await action(shale.sandboxes.open(idOrName));
	} catch (error) {
		if (!(error instanceof ShaleApiError) || error.code !== "not_found") throw error;
		const id = await findByName(shale, idOrName);
		if (id === undefined) throw error;
		return await action(shale.sandboxes.open(id));
	}
}

async function findByName(shale: Shale, name: string): Promise<string | undefined> {
	for await (const sandbox of shale.sandboxes.all({ name })) {
		if (sandbox.state !== "destroyed" && sandbox.id !== name) return sandbox.id;
	}
	return undefined;
}
