/**
 * The client of the jailer: starts `jailer serve` on one end of a socket pair, sends it plans, and hears of the
 * exits of the children that these made. The protocol is in native/README.md; the jailer runs plans one after
 * another and answers in order.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { dirname } from "node:path";
import type { Duplex } from "node:stream";
import { ShaleError } from "../lib/errors.ts";
import { type ExitListener, ExitListeners } from "./exit-listeners.ts";
import { encodePlan, OPS, type OpName, type Plan } from "./plan.ts";

/** The whole of a child's life, as wait4(2) tells it. */
export interface JailerExit {
	readonly hostPid: number;
	/**
	 * As wait(2) has it: exit code in bits 8–15, or the signal in bits 0–6. Undefined for a child of an earlier jailer
	 * whose end nobody saw.
	 */
	readonly waitStatus: number | undefined;
	/** These three are 0 for a child of an earlier jailer. */
	readonly userTimeMs: number;
	readonly systemTimeMs: number;
	readonly maxRssKiB: number;
}

/** A child of a jailer, named so that an other jailer recognises it. */
export interface JailerChild {
	readonly hostPid: number;
	/** When it began: field 22 of its stat, proc_pid_stat(5). No other process has both numbers until a reboot. */
	readonly startTicks: number;
}

export type PlanPhase = "decode" | "host" | "guest";

export interface PlanFailure {
	readonly opIndex: number;
	readonly opName: OpName | "plan";
	/** Such as `ENOENT`. */
	readonly errnoName: string;
	readonly phase: PlanPhase;
	/** The path or word that the operation was about, or "". */
	readonly path: string;
	/** What the jailer was doing. */
	readonly attempt: string;
}

/** A plan failed. Whatever it had made on the host has been undone, and its child is dead. */
export class PlanError extends Error {
	override readonly name = "PlanError";
	readonly opIndex: number;
	readonly opName: OpName | "plan";
	readonly errnoName: string;
	readonly phase: PlanPhase;
	readonly path: string;

	constructor({ opIndex, opName, errnoName, phase, path, attempt }: PlanFailure) {
		super(`operation ${opIndex} (${opName}${path === "" ? "" : ` ${path}`}): ${attempt}: ${errnoName}`);
		this.opIndex = opIndex;
		this.opName = opName;
		this.errnoName = errnoName;
		this.phase = phase;
		this.path = path;
	}
}

/** For a client that is an ordinary user: what it may do is bounded, see native/README.md. Needs `cgroups`. */
export interface JailerOwner {
	readonly uid: number;
	readonly gid: number;
	/** Host ids that sandboxes may have, both included. */
	readonly ids: { readonly first: number; readonly last: number };
	/** Folders of images, 4 at most. These and `allow` belong to the user, and images to it or to root. */
	readonly images: readonly string[];
}

export interface StartJailerOptions {
	readonly jailerPath: string;
	readonly agentPath: string;
	/** An existing folder of root's; the jailer mounts layers below it, seen by nobody else. */
	readonly runDir: string;
	/**
	 * Folders besides runDir in which plans may make and remove files, directories and sockets, 7 at most; they
	 * exist. Default: the folder that runDir lies in.
	 */
	readonly allow?: readonly string[];
	/**
	 * Below which cgroups plans may act and children of earlier jailers may be, 8 at most. Default: plans in the whole
	 * tree, and no such children.
	 */
	readonly cgroups?: readonly string[];
	readonly owner?: JailerOwner | undefined;
	/** Ends the wait for the start, and nothing after it. */
	readonly signal?: AbortSignal;
}

const SOCKET_FD = 3;
const REQUEST = { plan: 1, kill: 2, watch: 3 } as const;
const REPLY = { ok: 1, error: 2, exited: 3 } as const;
const HEADER_BYTES = 9;
/** The jailer's longest reply is far below this. */
const MAX_REPLY_BYTES = 4096;
const MAX_STDERR_CHARS = 4096;
const START_DEADLINE_MS = 10_000;
const PHASES: readonly PlanPhase[] = ["decode", "host", "guest"];

const OP_NAMES: ReadonlyMap<number, OpName> = new Map(
	(Object.keys(OPS) as OpName[]).map((name) => [OPS[name].opcode, name]),
);

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
	Object.entries(constants.errno)
		.map(([name, number]): [number, string] => [number, name])
		.reverse(),
);

interface Waiter {
	resolve(payload: Buffer): void;
	reject(error: unknown): void;
}

/** A running jailer. When it dies, its sandboxes live on, and every pending call fails with `unavailable`. */
export class Jailer {
	/** Resolves when the jailer has ended, for whatever reason. */
	readonly closed: Promise<void>;
	readonly #child: ChildProcess;
	readonly #socket: Duplex;
	readonly #waiters = new Map<number, Waiter>();
	readonly #exits = new ExitListeners();
	#received: Buffer = Buffer.alloc(0);
	#nextId = 1;
	#stderr = "";
	#endedBecause: string | undefined;

	private constructor(child: ChildProcess) {
		this.#child = child;
		this.#socket = child.stdio[SOCKET_FD] as Duplex;
		this.#socket.on("data", (chunk: Buffer) => this.#receive(chunk));
		// The end of the process says all there is to say about the end of its socket.
		this.#socket.on("error", () => {});
		child.stderr?.setEncoding("utf8").on("data", (text: string) => {
			this.#stderr = (this.#stderr + text).slice(-MAX_STDERR_CHARS);
		});
		this.closed = new Promise((resolve) => {
			const end = (why: string) => {
				this.#end(why);
				resolve();
			};
			child.once("error", (error) => end(error.message));
			child.once("close", (code, signal) => end(signal ?? `exit code ${code}`));
		});
	}

	/**
	 * Starts a jailer and waits until it answers. Needs root.
	 * @throws ShaleError `unavailable` with what the jailer said, `timeout`, or the signal's reason.
	 */
	static async start(options: StartJailerOptions): Promise<Jailer> {
		const { jailerPath, signal } = options;
		signal?.throwIfAborted();
		const child = spawn(jailerPath, toArguments(options), {
			stdio: ["ignore", "ignore", "pipe", "pipe"],
			env: {},
			cwd: "/",
		});
		const jailer = new Jailer(child);
		const deadline = AbortSignal.timeout(START_DEADLINE_MS);
		const abort = AbortSignal.any(signal === undefined ? [deadline] : [deadline, signal]);
		const kill = () => child.kill("SIGKILL");
		abort.addEventListener("abort", kill, { once: true });
		try {
			await jailer.run([]);
			return jailer;
		} catch (error) {
			signal?.throwIfAborted();
			if (deadline.aborted)
				throw new ShaleError("timeout", `starting ${jailerPath}: no answer`, { cause: error });
			throw error;
		} finally {
			abort.removeEventListener("abort", kill);
		}
	}

	/**
	 * Runs a plan to the point where its program runs (or waits in `wait_fifo`). Without `clone` both numbers are 0.
	 * @throws PlanError when an operation fails; ShaleError `invalid_argument` for a plan that cannot be encoded,
	 * `unavailable` when the jailer is gone: then it is unknown how far the plan got.
	 */
	async run(plan: Plan): Promise<JailerChild> {
		const payload = await this.#request(REQUEST.plan, encodePlan(plan));
		return { hostPid: payload.readUInt32LE(0), startTicks: Number(payload.readBigUInt64LE(4)) };
	}

	/**
	 * Takes over a child of an earlier jailer: from now on it is as if this one had cloned it. `cgroupHostPath` is one of
	 * the cgroups that it is in. False when it is dead, or when the process is no sandbox; may be repeated.
	 */
	async watch({ hostPid, startTicks }: JailerChild, cgroupHostPath: string): Promise<boolean> {
		const numbers = Buffer.alloc(12);
		numbers.writeUInt32LE(hostPid, 0);
		numbers.writeBigUInt64LE(BigInt(startTicks), 4);
		try {
			await this.#request(REQUEST.watch, Buffer.concat([numbers, Buffer.from(`${cgroupHostPath}\0`)]));
			return true;
		} catch (error) {
			if (error instanceof PlanError && ["ESRCH", "EPERM"].includes(error.errnoName)) return false;
			throw error;
		}
	}

	/** Sends a signal to a child of this jailer. A child that is gone is no error. */
	async kill(hostPid: number, signo: number): Promise<void> {
		const payload = Buffer.alloc(8);
		payload.writeUInt32LE(hostPid, 0);
		payload.writeUInt32LE(signo, 4);
		try {
			await this.#request(REQUEST.kill, payload);
		} catch (error) {
			if (!(error instanceof PlanError && error.errnoName === "ESRCH")) throw error;
		}
	}

	/** Calls `listener` once when the child has ended, also when it already has. Returns how to stop listening. */
	onExit(hostPid: number, listener: ExitListener): () => void {
		return this.#exits.on(hostPid, listener);
	}

	/** From then on every call fails. */
	get hasEnded(): boolean {
		return this.#endedBecause !== undefined;
	}

	/** Why calls fail once it has ended. */
	get goneError(): ShaleError {
		const said = this.#stderr.trim();
		const why = this.#endedBecause ?? "it is ending";
		return new ShaleError("unavailable", `the jailer is gone (${why})${said === "" ? "" : `: ${said}`}`);
	}

	/** Ends the jailer; its sandboxes live on. May be called twice. */
	async close(): Promise<void> {
		this.#socket.end();
		await this.closed;
	}

	#request(type: number, payload: Uint8Array): Promise<Buffer> {
		if (this.hasEnded) return Promise.reject(this.goneError);
		const id = this.#nextId;
		this.#nextId = id === 0xffff_ffff ? 1 : id + 1;
		const header = Buffer.alloc(HEADER_BYTES);
		header.writeUInt32LE(payload.length, 0);
		header.writeUInt32LE(id, 4);
		header.writeUInt8(type, 8);
		return new Promise((resolve, reject) => {
			this.#waiters.set(id, { resolve, reject });
			this.#socket.write(Buffer.concat([header, payload]));
		});
	}

	#receive(chunk: Buffer): void {
		this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
		while (this.#received.length >= HEADER_BYTES) {
			const length = this.#received.readUInt32LE(0);
			if (length > MAX_REPLY_BYTES) {
				// Only a program that is not our jailer says such things.
				this.#socket.destroy();
				this.#child.kill("SIGKILL");
				return;
			}
			if (this.#received.length < HEADER_BYTES + length) return;
			const id = this.#received.readUInt32LE(4);
			const type = this.#received.readUInt8(8);
			const payload = this.#received.subarray(HEADER_BYTES, HEADER_BYTES + length);
			this.#received = this.#received.subarray(HEADER_BYTES + length);
			this.#dispatch(id, type, payload);
		}
	}

	#dispatch(id: number, type: number, payload: Buffer): void {
		if (type === REPLY.exited) {
			this.#exits.tell(parseExit(payload));
			return;
		}
		const waiter = this.#waiters.get(id);
		this.#waiters.delete(id);
		if (type === REPLY.ok) {
			this.#exits.renew(payload.readUInt32LE(0));
			waiter?.resolve(payload);
		} else {
			waiter?.reject(parseFailure(payload));
		}
	}

	#end(why: string): void {
		this.#endedBecause = why;
		this.#socket.destroy();
		const error = this.goneError;
		for (const { reject } of this.#waiters.values()) reject(error);
		this.#waiters.clear();
	}
}

function toArguments(options: StartJailerOptions): string[] {
	const { agentPath, runDir, allow = [dirname(runDir)], cgroups = [], owner } = options;
	return [
		...["serve", String(SOCKET_FD), "--agent", agentPath, "--run-dir", runDir],
		...allow.flatMap((folder) => ["--allow", folder]),
		...cgroups.flatMap((hostPath) => ["--cgroup", hostPath]),
		...(owner === undefined ? [] : ownerArguments(owner)),
	];
}

function ownerArguments({ uid, gid, ids, images }: JailerOwner): string[] {
	return [
		...["--owner", `${uid}:${gid}`, "--ids", `${ids.first}-${ids.last}`],
		...images.flatMap((folder) => ["--image", folder]),
	];
}

function parseExit(payload: Buffer): JailerExit {
	const isKnown = payload.readUInt8(32) === 1;
	return {
		hostPid: payload.readUInt32LE(0),
		waitStatus: isKnown ? payload.readUInt32LE(4) : undefined,
		userTimeMs: Number(payload.readBigUInt64LE(8)) / 1000,
		systemTimeMs: Number(payload.readBigUInt64LE(16)) / 1000,
		maxRssKiB: Number(payload.readBigUInt64LE(24)),
	};
}

function parseFailure(payload: Buffer): PlanError {
	const opcode = payload.readUInt32LE(4);
	const errno = payload.readUInt32LE(8);
	const [path = "", attempt = ""] = payload.toString("utf8", 13).split("\0");
	return new PlanError({
		opIndex: payload.readUInt32LE(0),
		opName: OP_NAMES.get(opcode) ?? "plan",
		errnoName: ERRNO_NAMES.get(errno) ?? `errno ${errno}`,
		phase: PHASES[payload.readUInt8(12)] ?? "decode",
		path,
		attempt,
	});
}
