import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

describe("exec", { skip: missingRoot() || missingLayers(...TEST_LAYERS) }, () => {
	let daemon: TestDaemon;
	let id: string;
	before(async () => {
		daemon = await startTestDaemon();
		id = await daemon.create({ env: { FROM_SANDBOX: "1", BOTH: "sandbox" } });
	});
	after(() => daemon?.stop());

	const sh = (script: string, options: Record<string, unknown> = {}) =>
		daemon.exec(id, ["sh", "-c", script], options);

	it("gives stdout, stderr and the exit code", async () => {
		const result = await sh("echo out; echo err >&2; exit 7");
		assert.equal(result.stdout, "out\n");
		assert.equal(result.stderr, "err\n");
		assert.equal(result.exitCode, 7);
		assert.equal(result.signal, null);
	});

	it("runs Python from its layer", async () => {
		assert.equal((await daemon.exec(id, ["python3", "-c", "print(6*7)"])).stdout, "42\n");
	});

	it("answers 127 for a command that does not exist and says which", async () => {
		const result = await daemon.exec(id, ["no-such-command"]);
		assert.equal(result.exitCode, 127);
		assert.match(String(result.stderr), /no-such-command: No such file or directory/);
	});

	it("answers 126 for a file that is not executable", async () => {
		const result = await daemon.exec(id, ["/etc/passwd"]);
		assert.equal(result.exitCode, 126);
		assert.match(String(result.stderr), /Permission denied/);
	});

	it("answers 126 when the working folder does not exist", async () => {
		const result = await daemon.exec(id, ["true"], { workdir: "/nowhere" });
		assert.equal(result.exitCode, 126);
		assert.match(String(result.stderr), /\/nowhere/);
	});

	it("answers 128 + N after signal N, with its name", async () => {
		const result = await sh("kill -SEGV $$");
		assert.equal(result.exitCode, 139);
		assert.equal(result.signal, "SIGSEGV");
	});

	it("merges the environment: the request over the sandbox over the defaults", async () => {
		const { stdout } = await sh('echo "$FROM_SANDBOX $BOTH $HOME $PATH"', { env: { BOTH: "request" } });
		assert.match(String(stdout), /^1 request \/root \/usr\/local\/sbin:/);
	});

	it("runs as another user and group, by number and by name", async () => {
		assert.equal((await daemon.exec(id, ["id", "-u"], { user: "1234:5678" })).stdout, "1234\n");
		assert.equal((await daemon.exec(id, ["id", "-un"], { user: "nobody" })).stdout, "nobody\n");
		const body = { argv: ["true"], user: "no-such-user" };
		const { status, json } = await daemon.request("POST", `/v1/sandboxes/${id}/exec`, body);
		assert.equal(status, 400);
		assert.match(String(json.message), /^user: .*no-such-user/);
	});

	it("feeds stdin, also more than pipes hold", async () => {
		const stdin = "0123456789abcdef".repeat(65_536);
		const { stdout } = await daemon.exec(id, ["sha256sum"], { stdin });
		assert.equal(String(stdout).slice(0, 64), createHash("sha256").update(stdin).digest("hex"));
	});

	it("does not mind a program that closes stdin early", async () => {
		const result = await daemon.exec(id, ["head", "-c", "3"], { stdin: "abc".repeat(300_000) });
		assert.equal(result.stdout, "abc");
		assert.equal(result.exitCode, 0);
	});

	it("kills the whole group at the timeout, with the output so far", async () => {
		const result = await sh("echo before; trap '' TERM; sleep 1000 & sleep 1000", { timeoutMs: 300 });
		assert.equal(result.timedOut, true);
		assert.equal(result.exitCode, 137);
		assert.equal(result.stdout, "before\n");
		const { stdout } = await sh("ls /proc | grep -c '^[0-9]' ; grep -l sleep /proc/[0-9]*/comm | wc -l");
		assert.equal(String(stdout).split("\n")[1], "0", "no sleep is left");
	});

	it("does not wait for background children that hold stdout", async () => {
		const result = await sh("sleep 1000 & echo done");
		assert.equal(result.stdout, "done\n");
		assert.ok(Number(result.durationMs) < 5000);
		await sh("pkill sleep || kill $(grep -l sleep /proc/[0-9]*/comm | cut -d/ -f3)");
	});

	it("carries binary output exactly, and invalid UTF-8 as U+FFFD in text", async () => {
		const argv = ["python3", "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)"];
		const exact = await daemon.exec(id, argv, { encoding: "base64" });
		const expected = Buffer.concat(
			Array.from({ length: 1000 }, () => Buffer.from(Array.from({ length: 256 }, (_, n) => n))),
		);
		assert.deepEqual(Buffer.from(String(exact.stdout), "base64"), expected);
		const text = await daemon.exec(id, ["printf", "a\\377b\\000c"]);
		assert.equal(text.stdout, "a\ufffdb\0c");
	});

	it("keeps the first bytes of output beyond the cap and says so", async () => {
		const result = await daemon.exec(id, ["head", "-c", "3000000", "/dev/zero"], { maxOutputBytes: 1000 });
		assert.equal(String(result.stdout).length, 1000);
		assert.equal(result.truncated, true);
		assert.equal(result.exitCode, 0);
	});

	it("streams output while the program still runs", async () => {
		const response = await fetch(`${daemon.url}/v1/sandboxes/${id}/exec`, {
			method: "POST",
			headers: { "content-type": "application/json", accept: "application/x-ndjson" },
			body: JSON.stringify({ argv: ["sh", "-c", "echo one; read line </dev/null; sleep 1; echo two"] }),
		});
		const times = new Map<string, number>();
		let text = "";
		for await (const chunk of response.body ?? []) {
			text += Buffer.from(chunk).toString("utf8");
			for (const word of ["one", "two"]) {
				if (text.includes(`"text":"${word}\\n"`) && !times.has(word)) times.set(word, Date.now());
			}
		}
		assert.ok((times.get("two") ?? 0) - (times.get("one") ?? 0) > 500, `saw ${JSON.stringify([...times])}`);
		assert.match(text, /"type":"exit","exitCode":0/);
	});

	it("kills the program when its client goes away", async () => {
		const gone = new AbortController();
		const request = fetch(`${daemon.url}/v1/sandboxes/${id}/exec`, {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: JSON.stringify({ argv: ["sleep", "987"] }),
			signal: gone.signal,
		});
		await sleep(300);
		gone.abort();
		await assert.rejects(request);
		await sleep(300);
		const { stdout } = await sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
		assert.doesNotMatch(String(stdout), /sleep 987/);
	});

	it("loses no output of many programs at once", async () => {
		const results = await Promise.all(
			Array.from({ length: 40 }, (_, n) => sh(`head -c 100000 /dev/zero | tr '\\0' ${n % 10}`)),
		);
		for (const [n, { stdout }] of results.entries()) assert.equal(stdout, String(n % 10).repeat(100_000));
	});

	it("lists background processes, gives their output and signals them", async () => {
		const path = `/v1/sandboxes/${id}/processes`;
		const started = await daemon.request("POST", path, {
			id: "job",
			argv: ["sh", "-c", "echo hello; exec sleep 1000"],
		});
		assert.equal(started.status, 201);
		assert.equal(started.json.state, "running");
		assert.equal((await daemon.request("POST", path, { id: "job", argv: ["true"] })).status, 409);
		assert.equal((await daemon.request("DELETE", `${path}/job`)).status, 409);
		await sleep(100);
		const output = await fetch(`${daemon.url}${path}/job/output`);
		assert.match(await output.text(), /"text":"hello\\n"/);
		assert.equal((await daemon.request("POST", `${path}/job/signal`, { signal: "TERM" })).status, 204);
		await sleep(100);
		const ended = await daemon.request("GET", `${path}/job`);
		assert.equal(ended.json.exitCode, 143);
		assert.equal((await daemon.request("DELETE", `${path}/job`)).status, 204);
		assert.equal((await daemon.request("GET", `${path}/job`)).status, 404);
	});
});
