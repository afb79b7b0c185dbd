/** `attach`, `shell`, `kill` and `logs` against the real API over processes without a kernel. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { MAIN, shale } from "../../test/support/shale.ts";
import { startFakeServer } from "../api/testing/fake-daemon.ts";
import { until } from "../api/testing/requests.ts";

type Server = Awaited<ReturnType<typeof startFakeServer>>;

async function startProcess(server: Server, argv: readonly string[], stdin = true) {
	await server.daemon.sandboxes.startDetached("sb-1", { id: "p-1", argv, stdin });
	return server.daemon.sandboxes.last;
}

function start(server: Server, args: readonly string[]) {
	const env = { PATH: process.env.PATH, SHALE_CONFIG: "/nonexistent", SHALE_URL: server.url };
	const child = spawn(process.execPath, [MAIN, ...args], { env });
	const seen = { stdout: "", stderr: "" };
	child.stdout.on("data", (data: Buffer) => {
		seen.stdout += data.toString();
	});
	child.stderr.on("data", (data: Buffer) => {
		seen.stderr += data.toString();
	});
	return { child, seen, ended: once(child, "close").then(([code]) => code as number) };
}

test("attach shows what came before, forwards stdin, leaves it open, and exits as the process does", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["cat"]);
	await process.writeStdin(Buffer.from("before "));
	await until(() => process.ends.stdout === 7, "the output");
	const { child, seen, ended } = start(server, ["attach", "--tail", "4", "sb-1", "p-1"]);
	child.stdin.end("after");
	await until(() => seen.stdout === "ore after", "both");
	assert.equal(process.stdinClosed, false);
	process.closeStdin();
	assert.equal(await ended, 0);
});

test("a signal detaches, ends nothing, and says how to come back", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["greet"], false);
	const { child, seen, ended } = start(server, ["attach", "sb-1"]);
	await until(() => seen.stdout === "héllo", "the greeting");
	child.kill("SIGTERM");
	assert.equal(await ended, 143);
	assert.match(seen.stderr, /detached; p-1 runs on\. Attach again with: shale attach sb-1 p-1\n$/);
	assert.deepEqual(process.signals, []);
	process.signal("SIGKILL");
});

test("--read-only forwards nothing", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["cat"]);
	const { child, ended } = start(server, ["attach", "--read-only", "sb-1", "p-1"]);
	child.stdin.end("not for you");
	await until(() => process.readers.size === 1, "the reader");
	process.closeStdin();
	assert.equal(await ended, 0);
	assert.equal(process.stdinEnd, 0);
});

test("shell runs a program on a terminal that it does not own", async () => {
	await using server = await startFakeServer();
	const { child, seen, ended } = start(server, ["shell", "-e", "A=b", "-w", "/srv", "sb-1", "--", "cat"]);
	child.stdin.end("typed");
	assert.equal(await ended, 0, seen.stderr);
	assert.equal(seen.stdout, "typed");
	const { id, ...request } = server.daemon.sandboxes.last.request;
	assert.match(String(id), /^p-/);
	assert.deepEqual(request, {
		argv: ["cat"],
		env: { A: "b" },
		workdir: "/srv",
		stdin: true,
		terminal: { columns: 80, rows: 24 },
	});
	assert.equal((await shale(["shell", "sb-1", "cat"], { url: server.url })).exitCode, 125);
	assert.equal((await shale(["shell", "sb-9"], { url: server.url })).exitCode, 125);
});

test("kill signals the group or the process, tries each, and exits with the first failure", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["sleep"], false);
	const { url } = server;
	const run = await shale(["kill", "sb-1", "p-9", "p-1"], { url });
	assert.deepEqual([run.exitCode, run.stdout.toString()], [4, "p-1\n"]);
	await shale(["kill", "-s", "USR1", "--only", "sb-1", "p-1"], { url });
	assert.deepEqual(process.signals, ["SIGTERM", "USR1 alone"]);
	assert.equal((await shale(["kill", "-s", "NOPE", "sb-1", "p-1"], { url })).exitCode, 2);
	process.signal("SIGKILL");
});

test("logs begins at an offset or with the newest bytes, and says what is missing", async () => {
	await using server = await startFakeServer();
	const process = await startProcess(server, ["cat"]);
	process.ringBytes = 10;
	for (const part of ["0123456789", "abcdefghij"]) await process.writeStdin(Buffer.from(part));
	await until(() => process.ends.stdout === 20, "the output");
	const { url } = server;
	const all = await shale(["logs", "sb-1"], { url });
	assert.deepEqual(
		[all.stdout.toString(), all.stderr],
		["abcdefghij", "shale: 10 bytes of stdout are no longer kept\n"],
	);
	assert.equal((await shale(["logs", "--tail", "3", "sb-1", "p-1"], { url })).stdout.toString(), "hij");
	const after = await shale(["logs", "--stdout-after", "15", "sb-1", "p-1"], { url });
	assert.deepEqual([after.stdout.toString(), after.stderr], ["fghij", ""]);
	assert.equal((await shale(["logs", "--stdout-after", "1", "sb-1", "p-1"], { url })).exitCode, 5);
});
