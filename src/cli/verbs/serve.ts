/** `shale serve`: the daemon, in the foreground. */
import type { Command } from "commander";
import { parseTime, verbCommand } from "../options.ts";
import { print } from "../output.ts";

interface ServeFlags {
	readonly listen?: string;
	readonly idleExit?: number;
}

export function command(): Command {
	return verbCommand("serve", "Starts the daemon in the foreground and prints its URL; SIGTERM stops it.")
		.option("--listen <host:port>", "address, over SHALE_LISTEN")
		.option("--idle-exit <time>", "stop after this time without sandboxes or requests: 30s, 5m", parseTime)
		.action(async ({ listen, idleExit }: ServeFlags) => {
			const [{ serve }, { readConfig }] = await Promise.all([
				import("../../daemon/serve.ts"),
				import("../../daemon/config.ts"),
			]);
			const config = await readConfig(listen ? { ...process.env, SHALE_LISTEN: listen } : process.env);
			process.exitCode = await serve({
				config,
				idleExitMs: idleExit,
				// Whoever has closed our stdout does not want the URL; the daemon serves all the same.
				onReady: (url) => void print(`shale: serving on ${url}\n`).catch(() => undefined),
			});
		});
}
