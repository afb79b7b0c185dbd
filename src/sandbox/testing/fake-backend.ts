/** A host without a kernel, for tests of the core: sandboxes are entries in maps that outlive the backend's user. */
import { type Duplex, duplexPair } from "node:stream";
import {
	FrameDecoder,
	FrameWriter,
	MAX_PAYLOAD_BYTES,
	PROTOCOL_VERSION,
	REPLY,
	REQUEST,
} from "../../agent/frames.ts";
import type {
	Backend,
	BackendRecord,
	BackendStats,
	LaunchedSandbox,
	LaunchSpec,
	SandboxExit,
} from "../../backends/backend.ts";
import { ShaleError } from "../../lib/errors.ts";

interface FakeProcess {
	readonly hostPid: number;
	readonly exited: Promise<SandboxExit>;
	readonly exit: (exit: SandboxExit) => void;
}

export class FakeBackend implements Backend {
	readonly name = "namespace";
	/** What lives on the host, by the sandbox's id. */
	readonly alive = new Map<string, FakeProcess>();
	/** Disk uppers on the host. */
	readonly uppers = new Set<string>();
	readonly launches: LaunchSpec[] = [];
	/** Agents that are spoken to. */
	connections = 0;
	/** Of the agents' protocol. */
	version: number = PROTOCOL_VERSION;
	/** Awaited in each call, and may throw. */
	onLaunch: (spec: LaunchSpec) => unknown = () => undefined;
	onDestroy: (id: string) => unknown = () => undefined;
	onAdopt: (id: string) => unknown = () => undefined;
	#lastPid = 0;
	#daemons = 0;

	/** What a daemon has of it. The daemon before that was killed: what it still asks for is never answered. */
	open(): Backend {
		this.#daemons++;
		const { name } = this;
		return {
			name,
			probe: () => this.probe(),
			explain: () => this.explain(),
			launch: this.#asOfNow((spec) => this.launch(spec)),
			adopt: this.#asOfNow((spec, record) => this.adopt(spec, record)),
			remove: this.#asOfNow((id, options) => this.remove(id, options)),
			listResources: () => this.listResources(),
			removeOrphans: this.#asOfNow((known, options) => this.removeOrphans(known, options)),
			close: () => this.close(),
		};
	}

	#asOfNow<Args extends unknown[], T>(call: (...args: Args) => Promise<T>): (...args: Args) => Promise<T> {
		const daemon = this.#daemons;
		return (...args) => (daemon === this.#daemons ? call(...args) : new Promise(() => undefined));
	}

	/** What the kernel does to a sandbox whose agent dies. */
	die(id: string, reason = "its agent was killed by SIGKILL"): void {
		this.alive.get(id)?.exit({ reason });
		this.alive.delete(id);
	}

	/** All ends, and only files are left. */
	reboot(): void {
		for (const id of [...this.alive.keys()]) this.die(id);
	}

	async launch(spec: LaunchSpec): Promise<LaunchedSandbox> {
		this.launches.push(spec);
		await this.onLaunch(spec);
		if (this.alive.has(spec.id)) throw new Error(`${spec.id} runs already`);
		if (spec.keepsUpper && !this.uppers.has(spec.id)) throw new Error(`${spec.id} has no upper`);
		if (spec.upper === "disk") this.uppers.add(spec.id);
		const { promise: exited, resolve: exit } = Promise.withResolvers<SandboxExit>();
		const process = { hostPid: ++this.#lastPid, exited, exit };
		this.alive.set(spec.id, process);
		return this.#toLaunched(spec.id, process);
	}

	async adopt({ id }: LaunchSpec, record: BackendRecord): Promise<LaunchedSandbox | undefined> {
		await this.onAdopt(id);
		const process = this.alive.get(id);
		return process && process.hostPid === record.hostPid ? this.#toLaunched(id, process) : undefined;
	}

	async remove(id: string, { keepsUpper = false }: { readonly keepsUpper?: boolean } = {}): Promise<void> {
		await this.onDestroy(id);
		this.die(id);
		if (!keepsUpper) this.uppers.delete(id);
	}

	async removeOrphans(
		known: ReadonlySet<string>,
		{ keepUppers = new Set() }: { readonly keepUppers?: ReadonlySet<string> } = {},
	): Promise<void> {
		for (const id of [...this.alive.keys(), ...this.uppers]) {
			if (!known.has(id)) await this.remove(id, { keepsUpper: keepUppers.has(id) });
		}
	}

	async probe() {
		return [];
	}

	async explain(): Promise<string> {
		return "";
	}

	async listResources() {
		return [];
	}

	async close(): Promise<void> {}

	#toLaunched(id: string, { hostPid, exited }: FakeProcess): LaunchedSandbox {
		return {
			id,
			hostPid,
			exited,
			record: { hostPid, startTicks: 7 },
			connect: async () => this.#connect(),
			stats: async () => STATS,
			destroy: this.#asOfNow((options) => this.remove(id, options)),
		};
	}

	/** An agent that greets, and answers whatever else it is asked with OK. */
	#connect(): Duplex {
		const [ours, agent] = duplexPair();
		const decoder = new FrameDecoder();
		this.connections++;
		ours.on("close", () => {
			this.connections--;
		});
		agent.on("data", (chunk: Buffer) => {
			for (const { type, channel } of decoder.decode(chunk)) {
				agent.write(
					type === REQUEST.hello
						? new FrameWriter(REPLY.hello, 0)
								.u16(this.version)
								.u32(MAX_PAYLOAD_BYTES)
								.text("build", "fake")
								.finish()
						: new FrameWriter(type === REQUEST.list ? REPLY.done : REPLY.ok, channel).finish(),
				);
			}
		});
		return ours;
	}
}

const STATS: BackendStats = {
	memoryBytes: 1,
	memoryPeakBytes: 1,
	memoryLimitBytes: 1,
	cpuUsageUs: 1,
	cpuThrottledUs: 0,
	processes: 1,
	oomKills: 0,
};

/** A step that waits until it is let go, or made to fail. */
export class Gate {
	readonly #reached = Promise.withResolvers<void>();
	readonly #open = Promise.withResolvers<void>();

	/** Resolves when somebody waits at it. */
	get reached(): Promise<void> {
		return this.#reached.promise;
	}

	readonly wait = async (): Promise<void> => {
		this.#reached.resolve();
		await this.#open.promise;
	};

	open(): void {
		this.#open.resolve();
	}

	fail(message: string): void {
		this.#open.reject(new ShaleError("unavailable", message));
	}
}
