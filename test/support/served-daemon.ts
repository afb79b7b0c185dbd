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
import { linkLayers } from "./layers.ts";
import { inMountNamespace, MAIN } from "./shale.ts";

/** Who is killed: by SIGKILL, except that `upgrade` is a daemon that is asked to stop, as by a new version. */
export type KillKind = "daemon" | "jailer" | "both" | "upgrade";

/** Starts that fail one after the other before nobody believes in the next one any more. */
const MAX_FAILED_STARTS = 5;

export interface ServedDaemonOptions {
	readonly layers: readonly string[];
	/** Settings over those of the test. */
	readonly env?: Readonly<Record<string, string>>;
	/**
	 * Shell commands that prepare the machine for it, in a mount namespace of its own, each time it is started. `$DATA` and
	 * `$RUN` are its folders.
	 */
	readonly setup?: string;
}

export class ServedDaemon {
	readonly folder = mkdtempSync(join(tmpdir(), "shale-served-"));
	readonly url: string;
	/** Times it was started. */
	starts = 0;
	/** Called each time it serves. */
	onServing: () => Promise<void> = async () => undefined;
	/** Rejects when it cannot be started any more; never resolves. */
	readonly failed: Promise<never>;

	readonly #options: ServedDaemonOptions;
	readonly #logFd: number;
	#fail: (error: Error) => void = () => undefined;
	#process: ChildProcess | undefined;
	#serving = Promise.withResolvers<void>();
	#failedStarts = 0;
	#isOver = false;

	private constructor(port: number, options: ServedDaemonOptions) {
		this.url = `http://127.0.0.1:${port}`;
		this.#options = options;
		this.#logFd = openSync(this.logPath, "a");
		this.failed = new Promise((_, reject) => {
			this.#fail = reject;
		});
		this.failed.catch(() => undefined);
		linkLayers(join(this.dataHostPath, "layers"), options.layers);
	}

	/** Makes its folders; nothing runs yet. */
	static async prepare(options: ServedDaemonOptions): Promise<ServedDaemon> {
		return new ServedDaemon(await findFreePort(), options);
	}

	static async start(options: ServedDaemonOptions): Promise<ServedDaemon> {
		const daemon = await ServedDaemon.prepare(options);
		await daemon.start();
		return daemon;
	}

	/** Returns when it serves. Also after {@link stop}. */
	async start(): Promise<void> {
		this.#isOver = false;
		this.#spawn();
		await this.serving();
	}

	get dataHostPath(): string {
		return join(this.folder, "data");
	}

	get runHostPath(): string {
		return join(this.folder, "run");
	}

	/** Of the one that runs, or of the last. */
	get pid(): number {
		return this.#process?.pid ?? 0;
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

	/** By SIGTERM; returns when it serves again. */
	async restart(): Promise<void> {
		await this.stop();
		await this.start();
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
		const { layers, setup, env } = this.#options;
		const argv = [process.execPath, MAIN, "serve", "--listen", new URL(this.url).host];
		const [program = "", ...args] = setup === undefined ? argv : inMountNamespace(setup, argv);
		const child = spawn(program, args, {
			stdio: ["ignore", "pipe", this.#logFd],
			env: {
				PATH: process.env.PATH,
				DATA: this.dataHostPath,
				RUN: this.runHostPath,
				SHALE_CONFIG: undefined,
				SHALE_DATA: this.dataHostPath,
				SHALE_RUN: this.runHostPath,
				SHALE_DEFAULT_LAYERS: layers.join(","),
				SHALE_LOG: "info",
				...env,
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
