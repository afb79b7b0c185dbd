/** `shale serve`: the daemon, in the foreground. */
import type { Command } from "commander";
import { parseTime, verbCommand } from "../options.ts";
import { notice, print } from "../output.ts";

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
				onStopped: (living) => void tellLiving(living).catch(() => undefined),
			});
		});
}

async function tellLiving(living: number): Promise<void> {
	if (living === 0) return;
	const subject = living === 1 ? "1 sandbox lives" : `${living} sandboxes live`;
	await notice(`${subject} on, and the next daemon takes over; to remove all: shale rm --all`);
}
