/** Clients whose daemon is killed, stopped and started again, against the real API over processes that live on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { type FakeDaemon, startFakeServer } from "../../src/api/testing/fake-daemon.ts";
import { until } from "../../src/api/testing/requests.ts";
import { collect } from "../../test/support/collect.ts";
import {
	type DroppedOutput,
	type ProcessEvent,
	Shale,
	ShaleConnectionError,
	type WebSocketConstructor,
} from "./index.ts";

const PACKAGED = WebSocket as unknown as WebSocketConstructor;

/** A daemon that can be killed or stopped, and started again at its place. */
class RestartableDaemon {
	#server: Awaited<ReturnType<typeof startFakeServer>>;

	private constructor(server: Awaited<ReturnType<typeof startFakeServer>>) {
		this.#server = server;
	}

	static async start(): Promise<RestartableDaemon> {
		return new RestartableDaemon(await startFakeServer());
	}

	get url(): string {
		return this.#server.url;
	}

	get sandboxes(): FakeDaemon["sandboxes"] {
		return this.#server.daemon.sandboxes;
	}

	async restart(way: "killed" | "stopped", awayMs = 30): Promise<void> {
		if (way === "killed") await this.crash();
		else {
			await this.#server[Symbol.asyncDispose]();
			this.sandboxes.loseReaders();
		}
		await sleep(awayMs);
		await this.startAgain();
	}

	async crash(): Promise<void> {
		await this.#server.crash();
	}

	async startAgain(): Promise<void> {
		const { daemon, port } = this.#server;
		this.#server = await startFakeServer({}, { daemon, port });
	}

	open(options: { readonly WebSocket?: WebSocketConstructor; readonly reconnectMs?: number } = {}) {
		return new Shale({ url: this.url, ...options }).sandboxes.open("sb-1");
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.#server[Symbol.asyncDispose]();
		for (const process of this.sandboxes.processes) process.signal("SIGKILL");
	}
}

const TICKS = Array.from({ length: 60 }, (_, count) => `tick ${count}\n`).join("");

function textOf(events: readonly ProcessEvent[]): string {
	const data = events.flatMap((event) => (event.type === "output" ? [event.data] : []));
	return Buffer.concat(data).toString();
}

for (const way of ["killed", "stopped"] as const) {
	test(`a stream whose daemon is ${way} twice gives everything once`, async () => {
		await using daemon = await RestartableDaemon.start();
		const news: string[] = [];
		const options = { onConnection: (state: string) => news.push(state) };
		const events: ProcessEvent[] = [];
		let restarts = 0;
		let restarting = Promise.resolve();
		for await (const event of daemon.open().commands.stream(["tick", "60"], options)) {
			events.push(event);
			if (event.type !== "output" || events.length % 20 !== 0 || restarts === 2) continue;
			restarts++;
			restarting = daemon.restart(way);
		}
		await restarting;
		assert.equal(textOf(events), TICKS);
		const types = new Set(events.map(({ type }) => type));
		assert.deepEqual([...types], ["started", "output", "exit"]);
		assert.equal(events.filter(({ type }) => type === "started").length, 1);
		assert.deepEqual(news, ["lost", "back", "lost", "back"]);
		await until(() => daemon.sandboxes.last.removed, "the process is forgotten");
		assert.equal(daemon.sandboxes.processes.length, 1);
	});

	for (const [kind, sockets] of [
		["the platform's WebSocket", {}],
		["ws", { WebSocket: PACKAGED }],
	] as const) {
		test(`a session over ${kind} whose daemon is ${way} loses and doubles nothing, in or out`, async () => {
			await using daemon = await RestartableDaemon.start();
			const session = await daemon.open(sockets).commands.open(["cat"], { stdin: true });
			const sent = Buffer.alloc(3_000_000, Buffer.from("0123456789abcde\n"));
			const received = collect(session.output());
			for (let from = 0; from < sent.length; from += 100_000) {
				await session.write(sent.subarray(from, from + 100_000));
				if (from === 500_000 || from === 2_000_000) await daemon.restart(way);
			}
			session.closeStdin();
			assert.ok(Buffer.concat((await received).map(({ data }) => data)).equals(sent));
			assert.equal((await session.exited).exitCode, 0);
			assert.ok(Buffer.concat(daemon.sandboxes.last.stdin).equals(sent));
		});
	}

	test(`who is attached when the daemon is ${way} goes on, and what was asked meanwhile is done`, async () => {
		await using daemon = await RestartableDaemon.start();
		const sandbox = daemon.open();
		await sandbox.processes.start(["tick", "60"], { id: "p-1", terminal: { columns: 80, rows: 24 } });
		const session = await sandbox.processes.attach("p-1");
		const received = collect(session.output());
		await until(() => daemon.sandboxes.last.ends.stdout > 100, "some ticks");
		const restarted = daemon.restart(way, 100);
		await sleep(50);
		session.signal("SIGUSR1");
		session.resize({ columns: 100, rows: 30 });
		await restarted;
		assert.equal(Buffer.concat((await received).map(({ data }) => data)).toString(), TICKS);
		await session.exited;
		assert.deepEqual(daemon.sandboxes.last.signals, ["SIGUSR1"]);
		assert.deepEqual(daemon.sandboxes.last.sizes, ["100x30"]);
	});

	test(`output that is followed while the daemon is ${way} comes once`, async () => {
		await using daemon = await RestartableDaemon.start();
		const sandbox = daemon.open();
		const { id } = await sandbox.processes.start(["tick", "60"]);
		const events: ProcessEvent[] = [];
		let restarting: Promise<void> | undefined;
		for await (const event of sandbox.processes.output(id, { follow: true })) {
			events.push(event);
			restarting ??= daemon.restart(way);
		}
		await restarting;
		assert.equal(textOf(events), TICKS);
		assert.equal(events.at(-1)?.type, "exit");
	});
}

test("what was written while nobody read, and is no longer kept, is told as dropped", async () => {
	await using daemon = await RestartableDaemon.start();
	const gaps: DroppedOutput[] = [];
	const options = { stdin: true, onDropped: (gap: DroppedOutput) => gaps.push(gap) };
	const session = await daemon.open().commands.open(["cat"], options);
	const received = collect(session.output());
	const { last } = daemon.sandboxes;
	await session.write("0123456789");
	await until(() => last.readers.size === 1 && last.ends.stdout === 10, "the output");
	await until(() => [...last.readers].every(({ lag }) => lag === 0), "it is read");
	await daemon.crash();
	last.ringBytes = 10;
	for (const part of ["abcdefghij", "klmnopqrst"]) await last.writeStdin(Buffer.from(part));
	await until(() => last.ends.stdout === 30, "more output");
	await daemon.startAgain();
	session.closeStdin();
	assert.equal(Buffer.concat((await received).map(({ data }) => data)).toString(), "0123456789klmnopqrst");
	assert.deepEqual(gaps, [{ stream: "stdout", offset: 10, bytes: 10 }]);
});

test("a program whose end was forgotten meanwhile is not run a second time", async () => {
	await using daemon = await RestartableDaemon.start();
	const stream = daemon.open().commands.stream(["sleep"]);
	assert.equal((await stream.next()).value?.type, "started");
	const rest = stream.next();
	daemon.sandboxes.last.removed = true;
	await daemon.restart("killed");
	await assert.rejects(rest, { code: "not_found" });
	assert.equal(daemon.sandboxes.processes.length, 1);
});

test("stdin of a stream that was fed in part is fed to its end by the next daemon", async () => {
	await using daemon = await RestartableDaemon.start();
	const stdin = "x".repeat(100_000);
	const events: ProcessEvent[] = [];
	const reading = (async () => {
		for await (const event of daemon.open().commands.stream(["cat"], { id: "p-1", stdin }))
			events.push(event);
	})();
	await until(() => daemon.sandboxes.processes[0]?.stdinClosed === true || events.length > 0, "the start");
	await daemon.restart("killed");
	await reading;
	assert.equal(textOf(events), stdin);
});

test("a daemon that stays away is given up after the time, and one that never was at once", async () => {
	await using daemon = await RestartableDaemon.start();
	const sandbox = daemon.open({ reconnectMs: 200 });
	const session = await sandbox.commands.open(["sleep"]);
	await daemon.crash();
	const begun = performance.now();
	await assert.rejects(session.exited, ShaleConnectionError);
	assert.ok(performance.now() - begun >= 150);
	await assert.rejects(sandbox.info(), ShaleConnectionError);
	const never = performance.now();
	await assert.rejects(new Shale({ url: daemon.url }).version(), ShaleConnectionError);
	assert.ok(performance.now() - never < 1000);
});

test("calls wait for a daemon that is away; one that may not be made twice only when it was not taken", async () => {
	await using daemon = await RestartableDaemon.start();
	const shale = new Shale({ url: daemon.url });
	await shale.health();
	const restarted = daemon.restart("killed", 200);
	await sleep(50);
	const sandbox = shale.sandboxes.open("sb-1");
	const [info, started] = await Promise.all([
		sandbox.info(),
		sandbox.processes.start(["sleep"], { id: "p-1" }),
		sandbox.commands.exec("echo"),
		shale.sandboxes.create(),
	]);
	await restarted;
	assert.deepEqual([info.id, started.id], ["sb-1", "p-1"]);
});

test("aborting and closing while the daemon is away end the wait", async () => {
	await using daemon = await RestartableDaemon.start();
	const abort = new AbortController();
	const sandbox = daemon.open();
	const options = { signal: abort.signal };
	const session = await sandbox.commands.open(["sleep"], options);
	const closed = await sandbox.commands.open(["sleep"]);
	const stream = sandbox.commands.stream(["sleep"], options);
	await stream.next();
	const rest = stream.next();
	rest.catch(() => undefined);
	await daemon.crash();
	await sleep(100);
	const reason = new Error("enough");
	abort.abort(reason);
	closed.close();
	await assert.rejects(session.exited, reason);
	await assert.rejects(rest, reason);
	await assert.rejects(closed.exited, ShaleConnectionError);
});

test("a connection that broke while the daemon lives has ended the program, and that is told", async () => {
	await using daemon = await RestartableDaemon.start();
	const sockets: WebSocket[] = [];
	class Noted extends WebSocket {
		constructor(...args: ConstructorParameters<typeof WebSocket>) {
			super(...args);
			sockets.push(this);
		}
	}
	const sandbox = daemon.open({ WebSocket: Noted as unknown as WebSocketConstructor });
	const session = await sandbox.commands.open(["sleep"]);
	sockets[0]?.terminate();
	assert.deepEqual((await session.exited).signal, "SIGKILL");
});
