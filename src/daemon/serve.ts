/** `shale serve`: a daemon in the foreground until SIGINT, SIGTERM, or nobody uses it any more. */
import { setTimeout as sleep } from "node:timers/promises";
import { createLog } from "../lib/log.ts";
import type { Config } from "./config.ts";
import { startDaemon } from "./daemon.ts";

export interface ServeOptions {
	readonly config: Config;
	/** Stop after this time without sandboxes and requests. */
	readonly idleExitMs?: number | undefined;
	/** Called once it takes requests. */
	readonly onReady: (url: string) => void;
	/** Called when it has stopped, with how many sandboxes live on. */
	readonly onStopped: (living: number) => void;
}

/** A second signal during the stop ends the process at once. */
const STOP_SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** Resolves with the exit code when the daemon has stopped; throws when it cannot start. */
export async function serve({ config, idleExitMs, onReady, onStopped }: ServeOptions): Promise<number> {
	const log = createLog(config.log);
	let asked: (reason: string) => void = () => undefined;
	const stopAsked = new Promise<string>((resolve) => {
		asked = resolve;
	});
	// A fault in one request must not take the others along.
	process.on("unhandledRejection", (error) => log.error({ err: error }, "a rejection that nobody handled"));
	for (const signal of STOP_SIGNALS) process.once(signal, () => asked(signal));
	const idleExit =
		idleExitMs === undefined ? undefined : { afterMs: idleExitMs, onIdle: () => asked("idle") };
	const daemon = await startDaemon({ config, log, idleExit });
	onReady(daemon.url);
	log.info({ url: daemon.url, data: config.data }, "serving");
	const reason = await Promise.race([stopAsked, daemon.failed]);
	if (reason instanceof Error) log.fatal({ err: reason }, "the daemon cannot go on");
	else log.info({ reason }, "stopping");
	const living = await daemon.stop();
	log.info({ living }, "stopped");
	onStopped(living);
	// Lets the log's last lines out.
	await sleep(0);
	return reason instanceof Error ? 1 : 0;
}
