/** The core on a fake host, with a clock that tests set. A second one on the same host is the daemon after a restart. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { pino } from "pino";
import type { Clock } from "../../linux/clock.ts";
import { openDatabase } from "../database.ts";
import { EventLog, type SandboxEvent } from "../events.ts";
import { type OpenSandboxes, openSandboxes } from "../sandboxes.ts";
import { SandboxStore } from "../store.ts";
import { FakeBackend } from "./fake-backend.ts";

export class FakeClock implements Clock {
	bootId = "boot-1";
	#uptimeMs = 1_000_000;
	#wallMs = Date.parse("2026-01-01T00:00:00.000Z");

	uptimeMs(): number {
		return this.#uptimeMs;
	}

	wallMs(): number {
		return this.#wallMs;
	}

	pass(ms: number): void {
		this.#uptimeMs += ms;
		this.#wallMs += ms;
	}

	/** Somebody sets the host's clock; negative is back. */
	setWall(byMs: number): void {
		this.#wallMs += byMs;
	}

	/** The host is down for so long. */
	reboot(downMs: number): void {
		this.bootId += "+";
		this.#uptimeMs = 5_000;
		this.#wallMs += downMs;
	}
}

export class FakeHost {
	readonly backend = new FakeBackend();
	readonly clock = new FakeClock();
	readonly lines: string[] = [];
	/** Of the daemon that was opened last. */
	events = new EventLog();
	/** Of the daemon that was opened last: what is done to it happens to that daemon. */
	database: DatabaseSync | undefined;
	readonly #folder = mkdtempSync(join(tmpdir(), "shale-core-"));
	#store: SandboxStore | undefined;

	/** Starts a daemon; an earlier one is dropped where it is, as by SIGKILL. */
	async open(): Promise<OpenSandboxes> {
		this.#store?.close();
		const backend = this.backend.open();
		this.events = new EventLog();
		this.#store = new SandboxStore(join(this.#folder, "shale.db"), (hostPath) => {
			this.database = openDatabase(hostPath);
			return this.database;
		});
		return await openSandboxes({
			store: this.#store,
			layers: { toStack: (names) => names, defaultStack: () => ["000-base-debian"] },
			backends: { get: () => backend, list: () => [backend], default: backend.name },
			slots: 100,
			machine: {
				cores: 2,
				memoryMiB: 4096,
				swapMiB: 0,
				diskMiB: 10_000,
				openFiles: 20_000,
				processes: 32_768,
			},
			log: pino({ level: "info" }, { write: (line: string) => void this.lines.push(line) }),
			events: this.events,
			clock: this.clock,
		});
	}

	/** What has happened, without ids and times. */
	async told(): Promise<string[]> {
		const events: string[] = [];
		const reader = this.events.subscribe("0-0");
		for (;;) {
			const next = await Promise.race([
				reader.next(),
				new Promise<undefined>((resolve) => setImmediate(() => resolve(undefined))),
			]);
			if (next === undefined || next.done) break;
			const { type, sandboxId, reason }: SandboxEvent = next.value;
			if (type !== "reset")
				events.push([type, sandboxId, reason].filter((word) => word !== undefined).join(" "));
		}
		await reader.return?.();
		return events;
	}

	[Symbol.dispose](): void {
		this.#store?.close();
		rmSync(this.#folder, { recursive: true });
	}
}
