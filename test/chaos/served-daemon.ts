/**
 * A daemon as a service manager runs it: `shale serve` in a process of its own, always at the same address and on the
 * same folders, and started again whenever it has ended. Until then, killed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { linkLayers } from "../support/layers.ts";
import { MAIN } from "../support/shale.ts";

/** Who is killed: by SIGKILL, except that `upgrade` is a daemon that is asked to stop, as by a new version. */
export type KillKind = "daemon" | "jailer" | "both" | "upgrade";

/** Starts that fail one after the other before nobody believes in the next one any more. */
const MAX_FAILED_STARTS = 5;

export class ServedDaemon {
	readonly folder = mkdtempSync(join(tmpdir(), "shale-chaos-"));
	readonly url: string;
	/** Times it was started. */
	starts = 0;
	/** Called each time it serves. */
	onServing: () => Promise<void> = async () => undefined;
	/** Rejects when it cannot be started any more; never resolves. */
	readonly failed: Promise<never>;

	readonly #layers: readonly string[];
	readonly #logFd: number;
	#fail: (error: Error) => void = () => undefined;
	#process: ChildProcess | undefined;
	#serving = Promise.withResolvers<void>();
	#failedStarts = 0;
	#isOver = false;

	private constructor(port: number, layers: readonly string[]) {
		this.url = `http://127.0.0.1:${port}`;
		this.#layers = layers;
		this.#logFd = openSync(this.logPath, "a");
		this.failed = new Promise((_, reject) => {
			this.#fail = reject;
		});
		this.failed.catch(() => undefined);
		linkLayers(join(this.folder, "data", "layers"), layers);
	}

	static async start(layers: readonly string[]): Promise<ServedDaemon> {
		const daemon = new ServedDaemon(await findFreePort(), layers);
		daemon.#spawn();
		await daemon.serving();
		return daemon;
	}

	get logPath(): string {
		return join(this.folder, "daemon.log");
	}

	/** Resolves when it serves; at once while it does. */
	serving(): Promise<void> {
		return Promise.race([this.#serving.promise, this.failed]);
	}

	/** By pid; returns at once. It comes back by itself. */
	kill(kind: KillKind): void {
		const pid = this.#process?.pid;
		if (pid === undefined) return;
		const jailers = kind === "jailer" || kind === "both" ? findChildren(pid, "jailer") : [];
		for (const jailer of jailers) tryKill(jailer, "SIGKILL");
		if (kind === "upgrade") tryKill(pid, "SIGTERM");
		else if (kind !== "jailer") tryKill(pid, "SIGKILL");
	}

	/** For good, by SIGTERM. Its sandboxes live on. */
	async stop(): Promise<void> {
		this.#isOver = true;
		const child = this.#process;
		if (!child || child.exitCode !== null || child.signalCode !== null) return;
		child.kill("SIGTERM");
		await once(child, "exit");
	}

	/** After {@link stop}. */
	removeFolder(): void {
		closeSync(this.#logFd);
		rmSync(this.folder, { recursive: true });
	}

	#spawn(): void {
		this.starts++;
		const child = spawn(process.execPath, [MAIN, "serve", "--listen", new URL(this.url).host], {
			stdio: ["ignore", "pipe", this.#logFd],
			env: {
				PATH: process.env.PATH,
				SHALE_CONFIG: undefined,
				SHALE_DATA: join(this.folder, "data"),
				SHALE_RUN: join(this.folder, "run"),
				SHALE_DEFAULT_LAYERS: this.#layers.join(","),
				SHALE_LOG: "info",
			},
		});
		this.#process = child;
		if (!child.stdout) throw new Error("the daemon has no stdout");
		let hasServed = false;
		createInterface(child.stdout).once("line", () => {
			hasServed = true;
			this.#failedStarts = 0;
			void this.onServing().catch(() => undefined);
			this.#serving.resolve();
		});
		child.once("exit", (code, signal) => {
			this.#serving = Promise.withResolvers();
			if (this.#isOver) return;
			if (!hasServed && signal === null) this.#failedStarts++;
			if (this.#failedStarts < MAX_FAILED_STARTS) setTimeout(() => this.#isOver || this.#spawn(), 50);
			else this.#fail(new Error(`the daemon does not start any more (exit ${code}): see ${this.logPath}`));
		});
	}
}

async function findFreePort(): Promise<number> {
	const server = createServer().listen(0, "127.0.0.1");
	await once(server, "listening");
	const address = server.address();
	server.close();
	await once(server, "close");
	return typeof address === "object" && address ? address.port : 0;
}

/** Pids of a process's children of this name, proc_pid_stat(5). */
export function findChildren(parentPid: number, name: string): number[] {
	return readdirSync("/proc")
		.filter((entry) => /^\d+$/.test(entry))
		.filter((pid) => {
			const [, comm, parent] = /\((.*)\) \S (\d+)/.exec(tryRead(`/proc/${pid}/stat`)) ?? [];
			return comm === name && Number(parent) === parentPid;
		})
		.map(Number);
}

function tryRead(hostPath: string): string {
	try {
		return readFileSync(hostPath, "utf8");
	} catch {
		return ""; // it has ended meanwhile
	}
}

function tryKill(pid: number, signal: NodeJS.Signals): void {
	try {
		process.kill(pid, signal);
	} catch {
		// It has ended by itself.
	}
}
