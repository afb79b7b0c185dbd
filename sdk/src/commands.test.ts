import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket } from "ws";
import { collect } from "../../test/support/collect.ts";
import { FakeDaemon } from "../../test/support/fake-daemon.ts";
import { largePiece } from "../../test/support/fake-programs.ts";
import {
	CommandFailedError,
	type Sandbox,
	Shale,
	ShaleConnectionError,
	type WebSocketConstructor,
} from "./index.ts";

function open(daemon: FakeDaemon, options: { readonly WebSocket?: WebSocketConstructor } = {}): Sandbox {
	return new Shale({ url: daemon.url, ...options }).sandboxes.open(daemon.addSandbox());
}

const PACKAGED = WebSocket as unknown as WebSocketConstructor;

async function until(condition: () => boolean): Promise<void> {
	for (let round = 0; round < 400 && !condition(); round++) await delay(5);
	assert.ok(condition(), "the condition did not come true within 2 s");
}

test("exec captures both streams and the exit", async () => {
	await using daemon = await FakeDaemon.start();
	const { commands } = open(daemon);
	const options = { cwd: "/tmp", envs: { A: "b" }, user: "1000", timeoutMs: 50 };
	const { stdout, exitCode, truncated, processId } = await commands.exec("echo", ["ä", "b"], options);
	assert.deepEqual({ stdout, exitCode, truncated }, { stdout: "ä b\n", exitCode: 0, truncated: false });
	assert.match(processId, /^p-[0-9a-f]{12}$/);
	assert.deepEqual(daemon.requests[0]?.body, {
		id: processId,
		argv: ["echo", "ä", "b"],
		workdir: "/tmp",
		env: { A: "b" },
		user: "1000",
		timeoutMs: 50,
	});
});

test("run hands its line to the shell", async () => {
	await using daemon = await FakeDaemon.start();
	const result = await open(daemon).commands.run("echo $HOME");
	assert.equal(result.exitCode, 127);
	assert.deepEqual(daemon.requests[0]?.body?.argv, ["/bin/sh", "-c", "echo $HOME"]);
});

test("a background command gives its process at once", async () => {
	await using daemon = await FakeDaemon.start();
	assert.match((await open(daemon).commands.run("sleep 9", { background: true })).id, /^p-/);
	assert.deepEqual(daemon.paths("POST"), ["/v1/sandboxes/sb-1/processes"]);
});

test("callbacks get text that is never cut within a character, and are awaited", async () => {
	await using daemon = await FakeDaemon.start();
	const heard: string[] = [];
	let running = 0;
	const onStdout = async (text: string): Promise<void> => {
		assert.equal(running++, 0);
		await delay(1);
		heard.push(text);
		running--;
	};
	const argv = ["stdout", "e2", "stdout", "82ac", "stderr", "21", "stdout", "ff61"];
	const result = await open(daemon).commands.exec("bytes", argv, { onStdout });
	assert.deepEqual(heard, ["€", "\ufffda"]);
	assert.equal(result.stdout, "€\ufffda");
	assert.equal(result.stderr, "!");
});

test("output beyond maxOutputBytes is dropped from the result and said", async () => {
	await using daemon = await FakeDaemon.start();
	const { stdout, truncated } = await open(daemon).commands.exec("large", [], { maxOutputBytes: 100 });
	assert.deepEqual({ length: stdout.length, truncated }, { length: 100, truncated: true });
});

test("a failing exit code throws only when asked", async () => {
	await using daemon = await FakeDaemon.start();
	const { commands } = open(daemon);
	assert.equal((await commands.exec("exit", ["3"])).exitCode, 3);
	await assert.rejects(commands.exec("exit", ["3"], { throwOnError: true }), (error: unknown) => {
		assert.ok(error instanceof CommandFailedError);
		assert.equal(error.message, "exit 3 exited with 3");
		assert.equal(error.result.exitCode, 3);
		return true;
	});
	const killed = await commands.exec("crash");
	assert.deepEqual([killed.exitCode, killed.signal], [137, "SIGKILL"]);
});

test("a stream without its exit has failed, and an error event is thrown", async () => {
	await using daemon = await FakeDaemon.start();
	const { commands } = open(daemon);
	await assert.rejects(commands.exec("cut", [], { reconnectMs: 0 }), ShaleConnectionError);
	await assert.rejects(commands.exec("fail"), { code: "unavailable", status: 503, retryable: true });
});

test("stdin is sent as text or as bytes", async () => {
	await using daemon = await FakeDaemon.start();
	const { commands } = open(daemon);
	assert.equal((await commands.exec("cat", [], { stdin: "ö" })).stdout, "ö");
	const bytes = Uint8Array.from({ length: 20_000 }, (_, index) => index % 256);
	const events = await collect(commands.stream(["cat"], { stdin: bytes }));
	const data = events.flatMap((event) => (event.type === "output" ? [event.data] : []));
	assert.deepEqual(Buffer.concat(data), Buffer.from(bytes));
});

test("aborting and leaving the loop both kill the program", async () => {
	await using daemon = await FakeDaemon.start();
	const { commands } = open(daemon);
	const reason = new Error("enough");
	const abort = new AbortController();
	const onStdout = (): void => abort.abort(reason);
	await assert.rejects(commands.exec("flood", [], { signal: abort.signal, onStdout }), reason);
	await until(() => daemon.killed === 1);
	for await (const event of commands.stream(["flood"])) if (event.type === "output") break;
	await until(() => daemon.killed === 2);
});

for (const [kind, options] of [
	["the platform's WebSocket", {}],
	["ws", { WebSocket: PACKAGED }],
] as const) {
	test(`a session over ${kind} carries stdin, sizes, signals and the exit`, async () => {
		await using daemon = await FakeDaemon.start();
		const { commands } = open(daemon, options);
		await using cat = await commands.open(["cat"], {
			id: "p-1",
			stdin: true,
			terminal: { columns: 80, rows: 24 },
		});
		assert.equal(cat.processId, "p-1");
		cat.resize({ columns: 100, rows: 30 });
		await cat.write(new Uint8Array(600_000).fill(0xfe));
		await cat.write("€");
		cat.closeStdin();
		const chunks = await collect(cat.output());
		const bytes = Buffer.concat(chunks.map(({ data }) => data));
		assert.equal(bytes.length, 600_003);
		assert.equal(bytes.toString("utf8", 600_000), "€");
		assert.equal(chunks.at(-1)?.offset, 600_000);
		assert.equal((await cat.exited).exitCode, 0);
		const seen = daemon.requests.filter(({ method }) => method === "WS").map(({ body }) => body);
		assert.deepEqual(seen, [
			{ argv: ["cat"], id: "p-1", terminal: { columns: 80, rows: 24 }, stdin: true },
			{ type: "resize", columns: 100, rows: 30 },
		]);
		await using wait = await commands.open(["wait", "once"]);
		wait.signal("SIGTERM");
		assert.equal((await wait.exited).exitCode, 130);
	});

	test(`a session over ${kind} that is closed or aborted kills the program`, async () => {
		await using daemon = await FakeDaemon.start();
		const { commands } = open(daemon, options);
		const closed = await commands.open(["wait"]);
		closed.close();
		await assert.rejects(closed.exited, ShaleConnectionError);
		const abort = new AbortController();
		const aborted = await commands.open(["wait"], { signal: abort.signal });
		const reason = new Error("enough");
		abort.abort(reason);
		await assert.rejects(aborted.exited, reason);
		await until(() => daemon.killed === 2);
	});

	test(`a session over ${kind} tells why it could not be opened or went on`, async () => {
		await using daemon = await FakeDaemon.start();
		const nowhere = new Shale({ url: daemon.url, ...options }).sandboxes.open("nobody");
		await assert.rejects(nowhere.commands.open(["cat"]), { name: "ShaleApiError", code: "not_found" });
		const { commands } = open(daemon, options);
		const failed = await commands.open(["fail"]);
		await assert.rejects(collect(failed.output()), { code: "unavailable" });
		const cut = await commands.open(["cut"], { reconnectMs: 0 });
		await assert.rejects(cut.exited, ShaleConnectionError);
	});
}

test("a session's slow reader slows the program and loses nothing", async () => {
	await using daemon = await FakeDaemon.start();
	const session = await open(daemon, { WebSocket: PACKAGED }).commands.open(["large"]);
	let piece = 0;
	for await (const { data } of session.output()) {
		assert.deepEqual(Buffer.from(data), largePiece(piece));
		if (piece++ % 64 === 0) await delay(20);
	}
	assert.equal(piece, 256);
});
