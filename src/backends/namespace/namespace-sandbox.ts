/** One sandbox of the built-in backend, from the moment its agent runs. */
import { connect } from "node:net";
import { constants } from "node:os";
import type { Duplex } from "node:stream";
import type { Lease } from "../../layers/mounts.ts";
import { ShaleError } from "../../lib/errors.ts";
import { type CgroupPaths, planRemove, readStats } from "../../linux/cgroups.ts";
import type { Jailer, JailerExit } from "../../linux/jailer.ts";
import { op } from "../../linux/plan.ts";
import { signalName } from "../../linux/signals.ts";
import type { BackendStats, LaunchedSandbox, SandboxExit } from "../backend.ts";

/** A killed pid namespace is gone in milliseconds; only a process stuck in the kernel takes longer. */
const DEATH_DEADLINE_MS = 20_000;

export interface NamespaceSandboxParts {
	readonly id: string;
	readonly hostPid: number;
	readonly jailer: Jailer;
	readonly cgroups: CgroupPaths;
	readonly lease: Lease;
	readonly socketHostPath: string;
	/** The disk upper's image; undefined with a tmpfs upper, which dies with its mount. */
	readonly imageHostPath: string | undefined;
}

export class NamespaceSandbox implements LaunchedSandbox {
	readonly id: string;
	readonly hostPid: number;
	readonly exited: Promise<SandboxExit>;
	readonly #parts: NamespaceSandboxParts;
	#destroying: Promise<void> | undefined;
	#isDead = false;

	constructor(parts: NamespaceSandboxParts) {
		this.#parts = parts;
		this.id = parts.id;
		this.hostPid = parts.hostPid;
		const exit = new Promise<JailerExit>((resolve) => parts.jailer.onExit(parts.hostPid, resolve));
		this.exited = exit.then(async (how) => {
			this.#isDead = true;
			return { reason: await this.#explainExit(how) };
		});
	}

	async connect(): Promise<Duplex> {
		return connect(this.#parts.socketHostPath);
	}

	async stats(): Promise<BackendStats> {
		const { io: _, ...stats } = await readStats(this.#parts.cgroups);
		return stats;
	}

	destroy(): Promise<void> {
		this.#destroying ??= this.#end().catch((error: unknown) => {
			// Another call may try again.
			this.#destroying = undefined;
			throw error;
		});
		return this.#destroying;
	}

	async #end(): Promise<void> {
		const { jailer, cgroups, lease, socketHostPath, imageHostPath } = this.#parts;
		await this.#kill();
		await jailer.run([
			...planRemove(cgroups),
			op.fileRemove(socketHostPath),
			...(imageHostPath === undefined ? [] : [op.fileRemove(imageHostPath)]),
		]);
		lease.release();
	}

	/** The agent is PID 1: when it dies, the kernel kills and reaps all others before its exit is seen. */
	async #kill(): Promise<void> {
		const { id, jailer, hostPid } = this.#parts;
		// By now the pid of a dead one may be another sandbox's.
		if (this.#isDead) return;
		await jailer.kill(hostPid, constants.signals.SIGKILL);
		let timer: NodeJS.Timeout | undefined;
		const deadline = new Promise<never>((_, reject) => {
			timer = setTimeout(() => {
				reject(
					new ShaleError("timeout", `sandbox ${id}: a process is stuck in the kernel and cannot be killed`),
				);
			}, DEATH_DEADLINE_MS);
		});
		await Promise.race([this.exited, deadline]).finally(() => clearTimeout(timer));
	}

	async #explainExit({ waitStatus }: JailerExit): Promise<string> {
		if (this.#destroying) return "it was destroyed";
		const signal = waitStatus & 0x7f;
		if (signal === 0) return `its agent exited with ${(waitStatus >> 8) & 0xff}`;
		const oomKills = await this.stats().then(
			(stats) => stats.oomKills,
			() => 0,
		);
		return `its agent was killed by ${signalName(signal)}${oomKills > 0 ? ": out of memory" : ""}`;
	}
}
