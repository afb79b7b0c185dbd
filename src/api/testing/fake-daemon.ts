/** A daemon without a kernel, for tests of the API: sandboxes are records, and what was asked of them is kept. */
import type { Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Readable } from "node:stream";
import { pino } from "pino";
import { ShaleError } from "../../lib/errors.ts";
import { EventLog } from "../../sandbox/events.ts";
import type { GarbageReport } from "../../sandbox/inventory.ts";
import type {
	CreateSandbox,
	ExecResult,
	ExecSandbox,
	ListSandboxes,
	Sandbox,
	Sandboxes,
} from "../../sandbox/types.ts";
import { type ApiOptions, createApi, createApiServer } from "../create-api.ts";
import type { Daemon, LayerOperations } from "../daemon-operations.ts";
import { FakeFiles } from "./fake-files.ts";
import { EXITED } from "./fake-process.ts";
import { FakeProcesses } from "./fake-processes.ts";

export const LIVING: Sandbox = {
	id: "sb-1",
	name: null,
	state: "running",
	reason: null,
	backend: "namespace",
	layers: ["000-base-debian"],
	env: {},
	user: "",
	workdir: "/",
	hostname: "sb-1",
	labels: {},
	limits: { cpuMillis: 1000, memoryMiB: 512, swapMiB: 0, processes: 64, openFiles: 1024, diskMiB: 64 },
	upper: "tmpfs",
	network: "none",
	createdAt: "2026-11-01T00:00:00.000Z",
	expiresAt: null,
	idleTimeoutMs: null,
	onExpiry: "destroy",
};

export class FakeSandboxes extends FakeProcesses implements Sandboxes {
	/** What was asked, for tests to look at. */
	readonly created: CreateSandbox[] = [];
	readonly listed: ListSandboxes[] = [];
	readonly executed: ExecSandbox[] = [];
	readonly destroyed: string[] = [];
	readonly extended: (number | null)[] = [];
	readonly files = new FakeFiles();
	execSignal: AbortSignal | undefined;

	async create(request: CreateSandbox): Promise<Sandbox> {
		this.created.push(request);
		if (request.id === "taken")
			throw new ShaleError("conflict", "sandbox taken exists", { hint: "Choose another." });
		return { ...LIVING, id: request.id ?? "sb-1" };
	}

	get(id: string): Sandbox {
		if (id === "broken") throw new Error("secret: /var/lib/shale/shale.db is malformed");
		if (id !== LIVING.id) throw new ShaleError("not_found", `no sandbox is called ${id}`);
		return LIVING;
	}

	list(query: ListSandboxes) {
		this.listed.push(query);
		return { sandboxes: [LIVING], cursor: query.cursor === undefined ? "next" : null };
	}

	async destroy(id: string): Promise<void> {
		this.get(id);
		this.destroyed.push(id);
	}

	async stop(id: string): Promise<Sandbox> {
		return { ...this.get(id), state: "stopped", reason: null };
	}

	async startAgain(id: string): Promise<Sandbox> {
		return this.get(id);
	}

	async extend(id: string, lifetimeMs: number | null): Promise<Sandbox> {
		this.extended.push(lifetimeMs);
		return { ...this.get(id), expiresAt: lifetimeMs === null ? null : "2026-11-01T00:00:01.000Z" };
	}

	async exec(
		id: string,
		request: ExecSandbox,
		options?: { readonly signal?: AbortSignal },
	): Promise<ExecResult> {
		this.get(id);
		this.executed.push(request);
		this.execSignal = options?.signal;
		if (request.argv[0] === "sleep") await untilAborted(options?.signal);
		const stdout = Buffer.from([0x68, 0xff, 0x69]);
		return {
			...EXITED,
			processId: request.id ?? "p-1",
			stdout,
			stderr: Buffer.alloc(0),
			truncated: false,
			durationMs: 2,
		};
	}

	async stats() {
		return {
			memoryBytes: 1,
			memoryPeakBytes: 2,
			memoryLimitBytes: 3,
			cpuUsageUs: 4,
			cpuThrottledUs: 5,
			processes: 6,
			oomKills: 0,
		};
	}

	async explain(): Promise<string> {
		return "clone user mount\nexec @agent\n";
	}

	async explainExisting(id: string): Promise<string> {
		this.get(id);
		return this.explain();
	}
}

function untilAborted(signal: AbortSignal | undefined): Promise<void> {
	return new Promise((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
}

export class FakeLayers implements LayerOperations {
	readonly layer = {
		name: "100-python3",
		digest: `sha256:${"0".repeat(64)}`,
		sizeBytes: 7,
		createdAt: "2026-11-01T00:00:00.000Z",
		description: "Python",
		sources: [{ kind: "debian-packages", packages: ["python3"] }],
	};
	importedBytes = 0;
	importError: unknown;
	buildSignal: AbortSignal | undefined;

	async list() {
		return [this.layer];
	}

	async get(name: string) {
		if (name !== this.layer.name) throw new ShaleError("not_found", `no layer is called ${name}`);
		return this.layer;
	}

	async import(name: string, image: Readable) {
		try {
			for await (const part of image) {
				this.importedBytes += (part as Buffer).length;
				if (name === "100-bad") throw new ShaleError("layer_damaged", "the image has no superblock");
			}
		} catch (error) {
			this.importError = error;
			throw error;
		}
		return { ...this.layer, name, sizeBytes: this.importedBytes };
	}

	async remove(name: string) {
		await this.get(name);
	}

	async recipes() {
		return [{ name: "100-python3", kind: "debian-packages", description: "Python" }];
	}

	async build(name: string, { signal, onProgress }: Parameters<LayerOperations["build"]>[1]) {
		this.buildSignal = signal;
		if (name === "100-slow") await untilAborted(signal);
		for (let percent = 0; percent <= 100; percent += 10) onProgress({ step: "packages", percent });
		if (name === "100-bad") throw new ShaleError("unavailable", "the archive does not answer");
		return { ...this.layer, name };
	}
}

export class FakeDaemon implements Daemon {
	readonly sandboxes = new FakeSandboxes();
	readonly layers = new FakeLayers();
	readonly version = { version: "0.1.0", node: "24.0.0", kernel: "6.12" };
	readonly events = new EventLog({ epoch: "e" });
	/** The `dryRun` of each collection. */
	readonly collected: boolean[] = [];

	async collectGarbage({ dryRun }: { readonly dryRun: boolean }): Promise<GarbageReport> {
		this.collected.push(dryRun);
		const cgroup = { kind: "cgroup", name: "/sys/fs/cgroup/shale/x/sb-0", sandboxId: "sb-0" } as const;
		return { dryRun, removed: [cgroup], left: [{ kind: "loop", name: "/dev/loop7", sandboxId: null }] };
	}

	async doctor() {
		return {
			checks: [{ name: "overlay", ok: false, detail: "missing", fix: "modprobe overlay" }],
			ready: false,
		};
	}

	async metrics() {
		return "# TYPE shale_sandboxes gauge\nshale_sandboxes 1\n";
	}
}

/** A log that keeps its lines. */
export function createFakeLog() {
	const lines: string[] = [];
	return { lines, log: pino({ level: "warn" }, { write: (line: string) => void lines.push(line) }) };
}

/** The API over a fake daemon, in-process. */
export function createFakeApi(options: Partial<ApiOptions> = {}, daemon = new FakeDaemon()) {
	const { lines, log } = createFakeLog();
	return { daemon, lines, log, api: createApi({ operations: daemon, log, ...options }) };
}

/** The daemon as one server knows it: once that is dead, it kills nothing any more. */
function mortal(daemon: FakeDaemon, life: { readonly isOver: boolean }): Daemon {
	const sandboxes = new Proxy(daemon.sandboxes, {
		get(target, name) {
			const value: unknown = Reflect.get(target, name, target);
			if (typeof value !== "function") return value;
			if (name === "signalProcess" && life.isOver) return async () => undefined;
			return value.bind(target);
		},
	});
	return Object.create(daemon, { sandboxes: { value: sandboxes } }) as Daemon;
}

/**
 * The same behind a real server on a free loopback port, or on that of an earlier one; `await using` closes it as a
 * daemon stops. What is in `daemon` outlives it.
 */
export async function startFakeServer(
	options: Partial<ApiOptions> = {},
	{ daemon: existing, port: wanted = 0 }: { readonly daemon?: FakeDaemon; readonly port?: number } = {},
) {
	const life = { isOver: false };
	const { daemon, lines, log } = createFakeApi(options, existing);
	const api = createApi({ operations: mortal(daemon, life), log, ...options });
	const server: Server = createApiServer(api, log);
	const sockets = new Set<Socket>();
	server.on("connection", (socket: Socket) => sockets.add(socket));
	await new Promise<void>((resolve) => server.listen(wanted, "127.0.0.1", resolve));
	const { port } = server.address() as AddressInfo;
	return {
		daemon,
		lines,
		port,
		url: `http://127.0.0.1:${port}`,
		/** As SIGKILL: connections break without a word, and nothing is done about it. */
		async crash() {
			life.isOver = true;
			const closed = new Promise((resolve) => server.close(resolve));
			for (const socket of sockets) socket.destroy();
			daemon.sandboxes.loseReaders();
			await closed;
		},
		async [Symbol.asyncDispose]() {
			if (!server.listening) return;
			api.close();
			const closed = new Promise((resolve) => server.close(resolve));
			server.closeAllConnections();
			await closed;
		},
	};
}
