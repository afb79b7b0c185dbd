/** What programs do wrong, on purpose or not. Each has a defined answer, and the next command works. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

const MIB = 1024 * 1024;

describe("a program", { skip: missingRoot() || missingLayers(...TEST_LAYERS) }, () => {
	let daemon: TestDaemon;
	before(async () => {
		daemon = await startTestDaemon();
	});
	after(() => daemon?.stop());

	/** One sandbox a fault, which must still work afterwards, and be destroyed as any other. */
	function fault(
		title: string,
		commit: (id: string) => Promise<void>,
		request: Record<string, unknown> = {},
	): void {
		it(title, async () => {
			const id = await daemon.create({ limits: { memoryMiB: 128, diskMiB: 32, processes: 64 }, ...request });
			await commit(id);
			const { exitCode, stdout } = await daemon.exec(id, ["sh", "-c", "echo alive"], { timeoutMs: 10_000 });
			assert.deepEqual({ exitCode, stdout }, { exitCode: 0, stdout: "alive\n" });
			assert.equal((await daemon.request("GET", `/v1/sandboxes/${id}`)).json.state, "running");
			assert.equal((await daemon.request("DELETE", `/v1/sandboxes/${id}`)).status, 204);
		});
	}

	const sh = (id: string, script: string, options: Record<string, unknown> = {}) =>
		daemon.exec(id, ["sh", "-c", script], options);
	const python = (id: string, script: string, options: Record<string, unknown> = {}) =>
		daemon.exec(id, ["python3", "-c", script], options);

	const start = async (id: string, script: string) => {
		const body = { argv: ["sh", "-c", script] };
		const { status, json } = await daemon.request("POST", `/v1/sandboxes/${id}/processes`, body);
		assert.ok(status === 201 || status === 200, JSON.stringify(json));
		return `/v1/sandboxes/${id}/processes/${json.id}`;
	};

	const untilExited = async (path: string) => {
		for (let attempt = 0; attempt < 100; attempt++) {
			const { json } = await daemon.request("GET", path);
			if (json.state === "exited") return json;
			await sleep(50);
		}
		throw new Error(`${path} does not end`);
	};

	fault("that closes its streams is waited for all the same", async (id) => {
		const result = await sh(id, "echo before; exec 0<&- 1>&- 2>&-; sleep 0.3; exit 5");
		assert.deepEqual([result.exitCode, result.stdout], [5, "before\n"]);
		assert.ok(Number(result.durationMs) >= 300);
	});

	fault("that ignores SIGTERM runs on, until SIGKILL or its timeout", async (id) => {
		const path = await start(id, "trap '' TERM; while :; do sleep 0.1; done");
		await daemon.request("POST", `${path}/signal`, { signal: "SIGTERM" });
		await sleep(300);
		assert.equal((await daemon.request("GET", path)).json.state, "running");
		await daemon.request("POST", `${path}/signal`, { signal: "SIGKILL" });
		const { exitCode, signal } = await untilExited(path);
		assert.deepEqual({ exitCode, signal }, { exitCode: 137, signal: "SIGKILL" });
		const timed = await sh(id, "trap '' TERM INT HUP; while :; do sleep 0.1; done", { timeoutMs: 200 });
		assert.deepEqual([timed.exitCode, timed.timedOut], [137, true]);
	});

	fault("that has stopped itself ends at its timeout", async (id) => {
		const result = await sh(id, "kill -STOP $$", { timeoutMs: 200 });
		assert.deepEqual([result.exitCode, result.timedOut], [137, true]);
	});

	fault("that forks without end is held, and ends at its timeout with all of its group", async (id) => {
		const bomb = `import os, time
if os.fork() > 0: time.sleep(60)
while True:
    try: os.fork()
    except OSError: time.sleep(0.01)`;
		const result = await python(id, bomb, { timeoutMs: 1000 });
		assert.equal(result.exitCode, 137);
		const { stdout } = await sh(id, "ls -d /proc/[0-9]* | wc -l");
		assert.ok(Number(stdout) < 10, `${stdout} processes are left`);
	});

	fault(
		"whose children fill the sandbox up makes the next start a refusal that may be tried again",
		async (id) => {
			const fill = `import os, time
n = 0
try:
    while True:
        if os.fork() == 0:
            os.setsid(); time.sleep(3); os._exit(0)
except OSError: pass`;
			assert.equal((await python(id, fill)).exitCode, 0);
			const refused = async () => {
				const body = { argv: ["sleep", "3"] };
				const answer = await daemon.request("POST", `/v1/sandboxes/${id}/processes`, body);
				return answer.status < 300 ? undefined : answer;
			};
			// The one that filled it has left room for itself.
			const answer = (await refused()) ?? (await refused());
			assert.deepEqual(
				[answer?.status, answer?.json.code],
				[429, "resource_exhausted"],
				JSON.stringify(answer),
			);
			await sleep(3500);
		},
	);

	for (const upper of ["tmpfs", "disk"]) {
		fault(
			`that fills its disk on ${upper} has an error, and room again when it has removed what it wrote`,
			async (id) => {
				const full = await sh(id, "head -c 64M /dev/zero > /fill");
				assert.equal(full.exitCode, 1);
				assert.match(String(full.stderr), /No space left on device/);
				const after = await sh(id, "rm /fill && head -c 8M /dev/zero > /again && sync && wc -c < /again");
				assert.equal(String(after.stdout).trim(), String(8 * MIB));
			},
			{ upper },
		);
	}

	fault("that takes memory without end is killed, and its memory is free again", async (id) => {
		const greedy = "x = []\nwhile True: x.append(bytearray(1 << 20))";
		for (let round = 0; round < 3; round++) {
			const { exitCode, signal } = await python(id, greedy, { timeoutMs: 20_000 });
			assert.deepEqual({ exitCode, signal }, { exitCode: 137, signal: "SIGKILL" });
		}
		const { json } = await daemon.request("GET", `/v1/sandboxes/${id}/stats`);
		assert.ok(Number(json.oomKills) >= 3, JSON.stringify(json));
	});

	fault("that floods both streams is read to its end, and its first bytes are kept", async (id) => {
		const script = "head -c 50M /dev/zero | tr '\\0' o & head -c 50M /dev/zero | tr '\\0' e >&2; wait";
		const result = await sh(id, script, { maxOutputBytes: 1000 });
		assert.deepEqual([result.exitCode, result.truncated], [0, true]);
		assert.deepEqual([result.stdout, result.stderr], ["o".repeat(1000), "e".repeat(1000)]);
	});

	fault("that floods both streams for ever ends at its timeout", async (id) => {
		const result = await sh(id, "yes & yes >&2", { timeoutMs: 500, maxOutputBytes: 4096 });
		assert.deepEqual([result.exitCode, result.timedOut, result.truncated], [137, true, true]);
		assert.equal(String(result.stdout), "y\n".repeat(2048));
	});

	fault("whose children hold its streams is over when it is over", async (id) => {
		const result = await sh(id, "(sleep 30; echo late) & (trap '' HUP; yes >&2) & echo done; exit 3");
		assert.equal(result.exitCode, 3);
		assert.equal(result.stdout, "done\n");
		assert.ok(Number(result.durationMs) < 5000);
	});

	fault("that kills everything it can see does not kill the sandbox", async (id) => {
		const path = await start(id, "sleep 1000");
		const result = await sh(id, "kill -9 -1; echo survived");
		assert.deepEqual(
			[result.exitCode, result.stdout],
			[0, "survived\n"],
			"kill(2) spares its caller and PID 1",
		);
		assert.equal((await untilExited(path)).exitCode, 137);
		for (const signal of ["KILL", "STOP", "TERM", "SEGV"]) await sh(id, `kill -${signal} 1`);
	});

	fault("that exits while its stdin is written leaves the rest unread", async (id) => {
		const stdin = "0123456789abcdef".repeat(4 * 65_536);
		for (const script of ["exit 4", "head -c 1 > /dev/null; exit 4", "exec 0<&-; sleep 0.2; exit 4"]) {
			assert.equal((await sh(id, script, { stdin })).exitCode, 4);
		}
	});

	fault("that leaves orphans and zombies has them reaped", async (id) => {
		const orphans = `import os
for n in range(200):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()`;
		assert.equal((await python(id, orphans)).exitCode, 0);
		await sleep(100);
		const { stdout } = await sh(id, "grep -l 'State:.Z' /proc/[0-9]*/status | wc -l");
		assert.equal(stdout, "0\n");
	});

	fault("that builds trees as deep as it can does not delay its sandbox's end", async (id) => {
		const deep = `import os
os.chdir("/tmp")
try:
    while True: os.mkdir("d" * 250); os.chdir("d" * 250)
except OSError as error: print(error.errno)`;
		assert.equal((await python(id, deep, { timeoutMs: 20_000 })).stdout, "28\n", "ENOSPC");
		await sh(id, "rm -rf /tmp/d*");
	});

	fault("whose words, names and environment are as long as can be is run or refused by name", async (id) => {
		const path = `/v1/sandboxes/${id}/exec`;
		const long = await daemon.request("POST", path, { argv: ["true", "x".repeat(100_000)] });
		assert.deepEqual([long.status, long.json.code], [413, "too_large"], JSON.stringify(long.json));
		const name = await daemon.request("POST", path, { argv: ["n".repeat(10_000)] });
		assert.deepEqual([name.status, name.json.exitCode], [200, 127], JSON.stringify(name.json));
		const folder = await daemon.request("POST", path, { argv: ["true"], workdir: `/${"d/".repeat(2000)}` });
		assert.ok(
			folder.json.exitCode === 126 || folder.json.code === "invalid_argument",
			JSON.stringify(folder.json),
		);
	});
});
