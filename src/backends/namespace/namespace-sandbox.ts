/** One sandbox of the built-in backend, from the moment its agent runs. */
import { connect } from "node:net";
import { constants } from "node:os";
import type { Duplex } from "node:stream";
import type { Lease } from "../../layers/mounts.ts";
import { ShaleError } from "../../lib/errors.ts";
import { type CgroupPaths, planRemove, readStats } from "../../linux/cgroups.ts";
import type { JailerChild, JailerExit } from "../../linux/jailer.ts";
import { op } from "../../linux/plan.ts";
import type { ResidentJailer } from "../../linux/resident-jailer.ts";
import { signalName } from "../../linux/signals.ts";
import type { BackendRecord, BackendStats, LaunchedSandbox, SandboxExit } from "../backend.ts";
import { waitUntilDetached } from "./disk-image.ts";

/** A killed pid namespace is gone in milliseconds; only a process stuck in the kernel takes longer. */
const DEATH_DEADLINE_MS = 20_000;

export interface NamespaceSandboxParts {
	readonly id: string;
	readonly child: JailerChild;
	readonly jailer: ResidentJailer;
	readonly cgroups: CgroupPaths;
	readonly lease: Lease;
	readonly socketHostPath: string;
	/** The disk upper's image; undefined with a tmpfs upper, which dies with its mount. */
	readonly imageHostPath: string | undefined;
}

export class NamespaceSandbox implements LaunchedSandbox {
	readonly id: string;
	readonly hostPid: number;
	readonly record: BackendRecord;
	readonly exited: Promise<SandboxExit>;
	readonly #parts: NamespaceSandboxParts;
	#ending: Promise<void> | undefined;
	#isDead = false;

	constructor(parts: NamespaceSandboxParts) {
		this.#parts = parts;
		this.id = parts.id;
		this.hostPid = parts.child.hostPid;
		this.record = { hostPid: parts.child.hostPid, startTicks: parts.child.startTicks };
		const exit = new Promise<JailerExit>((resolve) => parts.jailer.onExit(this.hostPid, resolve));
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

	async destroy({ keepsUpper = false }: { readonly keepsUpper?: boolean } = {}): Promise<void> {
		this.#ending ??= this.#end().catch((error: unknown) => {
			// Another call may try again.
			this.#ending = undefined;
			throw error;
		});
		await this.#ending;
		const { jailer, imageHostPath } = this.#parts;
		if (imageHostPath === undefined) return;
		if (keepsUpper) await waitUntilDetached(imageHostPath);
		else await jailer.repeat(() => jailer.run([op.fileRemove(imageHostPath)]));
	}

	/** All but the disk upper. */
	async #end(): Promise<void> {
		const { jailer, cgroups, lease, socketHostPath } = this.#parts;
		await jailer.repeat(async () => {
			await this.#kill();
			await jailer.run([...planRemove(cgroups), op.fileRemove(socketHostPath)]);
		});
		lease.release();
	}

	/** The agent is PID 1: when it dies, the kernel kills and reaps all others before its exit is seen. */
	async #kill(): Promise<void> {
		const { id, jailer } = this.#parts;
		// By now the pid of a dead one may be another sandbox's.
		if (this.#isDead) return;
		await jailer.kill(this.hostPid, constants.signals.SIGKILL);
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
		if (this.#ending) return "it was destroyed";
		if (waitStatus === undefined) return `its agent ended while nobody watched${await this.#explainMemory()}`;
		const signal = waitStatus & 0x7f;
		if (signal === 0) return `its agent exited with ${(waitStatus >> 8) & 0xff}`;
		return `its agent was killed by ${signalName(signal)}${await this.#explainMemory()}`;
	}

	async #explainMemory(): Promise<string> {
		const oomKills = await this.stats().then(
			(stats) => stats.oomKills,
			() => 0,
		);
		return oomKills > 0 ? ": out of memory" : "";
	}
}
