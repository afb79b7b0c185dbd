import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { runProgram } from "./run-program.ts";

/** Gone, or dead and not yet reaped: proc(5), state Z. */
function isDead(hostPid: number): boolean {
	try {
		return /\) Z /.test(readFileSync(`/proc/${hostPid}/stat`, "utf8"));
	} catch {
		return true;
	}
}

test("standard output is returned, and lines of standard error are passed on", async () => {
	const lines: string[] = [];
	const printed = await runProgram("sh", ["-c", "echo out; echo one >&2; printf 'two\\nthree' >&2"], {
		onLine: (line) => lines.push(line),
	});
	assert.equal(printed, "out\n");
	assert.deepEqual(lines, ["one", "two"]);
});

test("a failure tells the exit code and the end of standard error, a missing program how to install it", async () => {
	const failing = runProgram("sh", ["-c", "yes long | head -c 100000 >&2; echo last >&2; exit 3"]);
	await assert.rejects(
		failing,
		(error: Error) => /ended with 3.*last$/s.test(error.message) && error.message.length < 3000,
	);
	await assert.rejects(runProgram("shale-no-such-program", []), { code: "unsupported" });
	await assert.rejects(runProgram("sh", ["-c", "kill -9 $$"]), /ended with SIGKILL/);
});

test("cancelling kills the whole process group, grandchildren too", async () => {
	const abort = new AbortController();
	const pids: number[] = [];
	const running = runProgram("sh", ["-c", "sleep 100 & echo $! >&2; echo $$ >&2; wait"], {
		signal: abort.signal,
		onLine: (line) => {
			if (pids.push(Number(line)) === 2) abort.abort();
		},
	});
	await assert.rejects(running, { code: "cancelled" });
	for (let tries = 0; tries < 50 && !pids.every(isDead); tries++) await sleep(10);
	assert.deepEqual(pids.map(isDead), [true, true]);
});

test("a program that is cancelled before it starts is not started", async () => {
	await assert.rejects(runProgram("shale-no-such-program", [], { signal: AbortSignal.abort() }), {
		code: "cancelled",
	});
});

test("output without end ends the program", async () => {
	await assert.rejects(runProgram("yes", []), /printed more than 8388608 bytes/);
});
