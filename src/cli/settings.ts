/** Where the daemon is, for verbs that talk to one: SHALE_URL and SHALE_TOKEN over the daemon's own settings. */
import { accessSync, constants } from "node:fs";
import { ShaleError } from "../lib/errors.ts";

export interface ClientSettings {
	readonly url: string;
	readonly token: string | undefined;
	/** The data folder of a daemon on this machine. */
	readonly data: string;
}

const DEFAULT_DATA = "/var/lib/shale";
const DEFAULT_LISTEN = "127.0.0.1:7522";
const DEFAULT_CONFIG_FILE = "/etc/shale/config.toml";

/** @throws ShaleError `invalid_argument` for a setting that cannot be. */
export async function readClientSettings(env: NodeJS.ProcessEnv = process.env): Promise<ClientSettings> {
	const { listen = DEFAULT_LISTEN, token, data = DEFAULT_DATA } = await daemonSettings(env);
	const url = env.SHALE_URL || `http://${toReachable(listen)}`;
	if (!/^https?:$/.test(URL.parse(url)?.protocol ?? "")) {
		throw new ShaleError("invalid_argument", `SHALE_URL: ${url} is not an http or https URL`);
	}
	return { url: url.replace(/\/+$/, ""), token: env.SHALE_TOKEN || token, data };
}

/** Without a readable file the environment says it all, and the daemon's own parser need not be loaded. */
async function daemonSettings(env: NodeJS.ProcessEnv): Promise<{
	readonly listen?: string | undefined;
	readonly token?: string | undefined;
	readonly data?: string | undefined;
}> {
	if (!isReadable(env.SHALE_CONFIG || DEFAULT_CONFIG_FILE)) {
		return { listen: env.SHALE_LISTEN || undefined, token: undefined, data: env.SHALE_DATA || undefined };
	}
	const { readConfig } = await import("../daemon/config.ts");
	return await readConfig(env);
}

function isReadable(hostPath: string): boolean {
	try {
		accessSync(hostPath, constants.R_OK);
		return true;
	} catch {
		return false;
	}
}

/** A daemon that listens on every address is reached on the loopback one. */
function toReachable(listen: string): string {
	return listen.replace(/^(0\.0\.0\.0|\[::\]):/, "127.0.0.1:");
}

/** `host:port` when the URL is this machine's own, so that a daemon can be started there; otherwise undefined. */
export function toLoopbackListen(url: string): string | undefined {
	const { protocol, hostname, port } = new URL(url);
	const isLoopback = hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname);
	if (protocol !== "http:" || !isLoopback) return undefined;
	return `${hostname === "localhost" ? "127.0.0.1" : hostname}:${port || "80"}`;
}
