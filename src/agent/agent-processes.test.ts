/** The life of a process, with the real agent. What flows to and from it is in agent-streams.test.ts. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import { missingRoot } from "../../test/support/requirements.ts";
import { until } from "../../test/support/until.ts";
import type { AgentConnection, StartProcess } from "./connection.ts";
import type { AgentProcess } from "./process.ts";

const { SIGKILL, SIGTERM } = constants.signals;
const env = { PATH: "/usr/bin:/bin" };

describe("processes of an agent", { skip: missingAgent() }, () => {
	let agent: RealAgent;
	let connection: AgentConnection;
	let count = 0;

	before(async () => {
		agent = await startAgent();
	});
	after(() => agent.stop());
	beforeEach(async () => {
		connection = await agent.open();
	});
	afterEach(() => connection.close());

	const start = (argv: string[], spec: Partial<StartProcess> = {}) =>
		connection.start({ id: `p${++count}`, argv, env, ...spec });
	const shell = (script: string, spec?: Partial<StartProcess>) => start(["sh", "-c", script], spec);

	async function collect(running: AgentProcess) {
		const text = { stdout: "", stderr: "" };
		for await (const { stream, data } of running.output()) text[stream] += data.toString("latin1");
		return { ...text, ...(await running.exited) };
	}
	const run = async (script: string, spec?: Partial<StartProcess>) => collect(await shell(script, spec));

	test("a process has its output, its exit code and its usage", async () => {
		const result = await run("echo out; echo err >&2; exit 3");
		assert.equal(result.stdout, "out\n");
		assert.equal(result.stderr, "err\n");
		assert.deepEqual([result.exitCode, result.signal, result.timedOut], [3, undefined, false]);
		assert.deepEqual([result.stdoutEnd, result.stderrEnd], [4, 4]);
		assert.ok(result.maxRssKiB > 100);
	});

	test("a signal is an exit code of 128 more", async () => {
		const result = await run("kill -TERM $$");
		assert.deepEqual([result.exitCode, result.signal], [143, "SIGTERM"]);
	});

	test("a program that is not there exits 127, one that cannot be executed 126, a wrong directory 126", async () => {
		const cases: [string[], Partial<StartProcess>, number, string][] = [
			[["nowhere-to-be-found"], {}, 127, "shale: exec nowhere-to-be-found: No such file or directory\n"],
			[["/etc/passwd/x"], {}, 127, "shale: exec /etc/passwd/x: Not a directory\n"],
			[["/etc/passwd"], {}, 126, "shale: exec /etc/passwd: Permission denied\n"],
			[["true"], { cwd: "/nowhere" }, 126, "shale: chdir /nowhere: No such file or directory\n"],
		];
		for (const [argv, spec, exitCode, stderr] of cases) {
			const result = await collect(await start(argv, spec));
			assert.deepEqual([result.exitCode, result.stderr, result.stdout], [exitCode, stderr, ""]);
		}
	});

	test("the program is looked for in the PATH of its own environment", async () => {
		assert.equal((await run("true", { env: { PATH: "/nowhere:/usr/bin:/bin" } })).exitCode, 0);
		assert.equal((await run("true", { env: { PATH: "/nowhere" } })).exitCode, 127);
		assert.equal((await run("true", { env: {} })).exitCode, 0, "without PATH: the usual places");
	});

	test("a process begins clean: session, signals, descriptors, directory, mask, environment", async () => {
		const facts = await run(`
			cut -d' ' -f5,6 /proc/self/stat; echo $$; grep -E '^Sig(Blk|Ign)' /proc/self/status
			ls /proc/self/fd; pwd; umask; env | sort; cat`);
		const [pgidAndSid, pid, ...rest] = facts.stdout.split("\n");
		assert.equal(pgidAndSid, `${pid} ${pid}`, "leader of its own session and group");
		assert.deepEqual(rest, [
			"SigBlk:\t0000000000000000",
			"SigIgn:\t0000000000000000",
			...["0", "1", "2", "3"], // 3 is ls's own
			"/",
			"0022",
			...["PATH=/usr/bin:/bin", "PWD=/"],
			"",
		]);
	});

	test("a process is killed before the agent when memory runs out", async () => {
		const ofAgent = Number(readFileSync(`/proc/${agent.pid}/oom_score_adj`, "utf8"));
		assert.equal(Number((await run("cat /proc/self/oom_score_adj")).stdout), Math.min(ofAgent + 100, 1000));
		assert.equal(Number(readFileSync(`/proc/${agent.pid}/oom_score_adj`, "utf8")), ofAgent);
	});

	test("limits and directory are the process's own", async () => {
		const nofile = 7; // RLIMIT_NOFILE
		const limits = [{ resource: nofile, soft: 50, hard: 60 }];
		const result = await run("ulimit -Sn; ulimit -Hn; pwd", { limits, cwd: "/tmp" });
		assert.equal(result.stdout, "50\n60\n/tmp\n");
		const impossible = await run("true", { limits: [{ resource: nofile, soft: 60, hard: 50 }] });
		assert.equal(impossible.stderr, "shale: setrlimit resource limit: Invalid argument\n");
		assert.equal(impossible.exitCode, 126);
	});

	test("a timeout kills the whole group, also of a leader that ignores SIGTERM", async () => {
		const result = await run("trap '' TERM; sleep 60 & echo $!; wait; sleep 60", { timeoutMs: 100 });
		assert.deepEqual([result.exitCode, result.signal, result.timedOut], [137, "SIGKILL", true]);
		await assertGone(Number(result.stdout));
	});

	test("a signal reaches the process, or its group", async () => {
		for (const scope of ["process", "group"] as const) {
			const running = await shell("sleep 60 & echo $!; wait");
			const reader = running.output();
			const sleeper = Number((await reader.next()).value?.data.toString());
			await connection.signal(running.id, SIGKILL, scope);
			for await (const _ of reader);
			assert.equal((await running.exited).signal, "SIGKILL");
			if (scope === "process") process.kill(sleeper, "SIGKILL");
			await assertGone(sleeper);
			await assert.rejects(connection.signal(running.id, SIGTERM, scope), { errnoName: "ESRCH" });
		}
		await assert.rejects(connection.signal("nobody", SIGTERM, "process"), { errnoName: "ENOENT" });
	});

	test("orphans are reaped", async () => {
		await run("(sh -c 'exec sleep 0.05' &) ; (true &)");
		await until(() => agent.children().length === 0);
	});

	test("exit codes of many processes at once are never lost or exchanged", async () => {
		const exits = Array.from({ length: 8 }, async (_, client) => {
			for (let i = 0; i < 25; i++) {
				const code = (client * 25 + i) % 256;
				const result = await run(`echo ${code}; exit ${code}`);
				assert.deepEqual([result.exitCode, result.stdout], [code, `${code}\n`]);
			}
		});
		await Promise.all(exits);
	});

	test("an id is taken until it is forgotten, and a running process cannot be forgotten", async () => {
		const running = await shell("sleep 60", { id: "taken" });
		await assert.rejects(shell("true", { id: "taken" }), { errnoName: "EEXIST" });
		await assert.rejects(connection.forget("taken"), { errnoName: "EBUSY" });
		await connection.signal("taken", SIGKILL, "group");
		await running.exited;
		await connection.forget("taken");
		await assert.rejects(connection.forget("taken"), { errnoName: "ENOENT" });
		assert.equal((await run("true", { id: "taken" })).exitCode, 0);
	});

	test("the listing has running and exited processes in order of start", async () => {
		const before = Date.now();
		await run("echo abc; exit 5", { id: "first" });
		await shell("sleep 60", { id: "second", attach: false });
		const [first, second] = (await connection.list()).slice(-2);
		assert.deepEqual([first?.id, first?.state, first?.exit], ["first", "exited", { exitCode: 5 }]);
		assert.deepEqual(first?.argv, ["sh", "-c", "echo abc; exit 5"]);
		assert.deepEqual([first?.stdoutStart, first?.stdoutEnd, first?.pty], [0, 4, false]);
		assert.ok(first && first.startedMs >= before - 1 && first.endedMs >= first.startedMs);
		assert.deepEqual([second?.id, second?.state, second?.exit], ["second", "running", undefined]);
		await connection.signal("second", SIGKILL, "group");
	});

	test("exits are kept up to a number; the oldest are dropped", async () => {
		for (let i = 0; i < 40; i++) {
			await Promise.all(Array.from({ length: 8 }, () => run("exit 0")));
		}
		const listed = await connection.list();
		assert.equal(listed.length, 256);
		assert.equal(listed.at(-1)?.id, `p${count}`);
	});

	test("a process runs as a named user with that user's groups", {
		skip: missingRoot(),
	}, async () => {
		const result = await run("id -u; id -g; id -G; echo again > /dev/stdout", { user: "nobody" });
		assert.equal(result.stdout, "65534\n65534\n65534\nagain\n");
		const numeric = await run("id -u; id -g; id -G", { user: "1234:5678" });
		assert.equal(numeric.stdout, "1234\n5678\n5678\n");
		await assert.rejects(run("true", { user: "no-such-user" }), { errnoName: "ENOENT" });
	});

	test("a terminal has a size, echoes, ends at closeStdin and can be resized", async () => {
		const terminal = await shell("stty size; trap 'stty size' WINCH; cat; read x || true; echo end", {
			pty: { columns: 100, rows: 30 },
			stdin: true,
		});
		let seen = "";
		const reading = (async () => {
			for await (const { stream, data } of terminal.output()) {
				assert.equal(stream, "stdout");
				seen += data.toString();
			}
		})();
		await until(() => seen.includes("30 100"));
		await connection.writeStdin(terminal.id, Buffer.from("hello\n"));
		await until(() => seen.includes("hello\r\nhello\r\n"));
		await connection.resize(terminal.id, { columns: 120, rows: 40 });
		await connection.writeStdin(terminal.id, Buffer.from([4]));
		await until(() => seen.includes("40 120"));
		await connection.closeStdin(terminal.id);
		await reading;
		assert.match(seen, /end\r\n$/);
		assert.equal((await terminal.exited).exitCode, 0);
		await assert.rejects(connection.resize(terminal.id, { columns: 1, rows: 1 }), { errnoName: "ESRCH" });
	});

	test("ctrl-c in a terminal interrupts the foreground program", async () => {
		const terminal = await shell("echo ready; exec sleep 60", {
			pty: { columns: 80, rows: 24 },
			stdin: true,
		});
		const reader = terminal.output();
		await reader.next();
		await connection.writeStdin(terminal.id, Buffer.from([3]));
		for await (const _ of reader);
		assert.equal((await terminal.exited).signal, "SIGINT");
	});

	test("a process without a terminal cannot be resized", async () => {
		const running = await shell("sleep 60");
		await assert.rejects(connection.resize(running.id, { columns: 1, rows: 1 }), { errnoName: "ENOTTY" });
		await connection.signal(running.id, SIGKILL, "group");
		await running.exited;
	});
});

/** The agent is the parent of orphans here, and reaps them at once. */
async function assertGone(pid: number): Promise<void> {
	await until(() => {
		try {
			process.kill(pid, 0);
			return false;
		} catch {
			return true;
		}
	});
}
