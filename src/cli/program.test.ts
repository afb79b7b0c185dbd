/** `run` and `exec`: what the user sees of a program in a sandbox. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { FakeDaemon } from "../../test/support/fake-daemon.ts";
import { largePiece } from "../../test/support/fake-programs.ts";
import { MAIN, shale } from "../../test/support/shale.ts";

const BYTES = "00ff0a0dc3fe80";

test("run creates a sandbox, prints the program's output and removes the sandbox", async () => {
	await using daemon = await FakeDaemon.start();
	const limits = [
		"--cpus",
		"1.5",
		"--memory",
		"512m",
		"--disk",
		"1g",
		"--processes",
		"9",
		"--open-files",
		"64",
	];
	const place = [
		"--label",
		"a=b=c",
		"--label",
		"d=",
		"--layer",
		"000-x",
		"--layer",
		"100-y",
		"--upper",
		"disk",
	];
	const process = ["-e", "A=1=2", "-e", "FROM_HERE", "-w", "/srv", "-u", "1000:1000", "--timeout", "30s"];
	const args = ["run", "--name", "box", "--net", "none", ...limits, ...place, ...process];
	const run = await shale([...args, "--", "echo", "-n", "--", "x"], {
		url: daemon.url,
		env: { FROM_HERE: "h" },
	});
	assert.deepEqual([run.exitCode, run.stdout.toString(), run.stderr], [0, "-n -- x\n", ""]);
	const [create, exec] = daemon.requests.filter(({ method }) => method === "POST");
	const { id, ...body } = create?.body ?? {};
	assert.match(String(id), /^sb-[a-z0-9]{12}$/);
	assert.deepEqual(body, {
		name: "box",
		layers: ["000-x", "100-y"],
		env: { A: "1=2", FROM_HERE: "h" },
		user: "1000:1000",
		workdir: "/srv",
		labels: { a: "b=c", d: "" },
		limits: { cpuMillis: 1500, memoryMiB: 512, processes: 9, openFiles: 64, diskMiB: 1024 },
		upper: "disk",
		network: "none",
		// Should this verb be killed, the sandbox goes by itself.
		idleTimeoutMs: 300_000,
	});
	const { id: processId, ...program } = exec?.body ?? {};
	assert.match(String(processId), /^p-[a-z0-9]{12}$/);
	assert.deepEqual(program, { argv: ["echo", "-n", "--", "x"], timeoutMs: 30_000 });
	assert.deepEqual(daemon.paths("DELETE"), [`/v1/sandboxes/${id}`]);
});

for (const flags of [[], ["-i"], ["-t"]]) {
	test(`run ${flags.join(" ")} gives both streams byte for byte`, async () => {
		await using daemon = await FakeDaemon.start();
		const argv = ["bytes", "stdout", BYTES, "stderr", "65", "stdout", "e282", "stdout", "ac"];
		const run = await shale(["run", ...flags, "--", ...argv], { url: daemon.url });
		assert.equal(run.stdout.toString("hex"), `${BYTES}e282ac`);
		assert.equal(run.stderr, "e");
	});

	test(`run ${flags.join(" ")} exits with the program's code, and with 125 for a failure of its own`, async () => {
		await using daemon = await FakeDaemon.start();
		const codes: Record<string, number> = {
			"exit 0": 0,
			"exit 3": 3,
			crash: 137,
			nothing: 127,
			fail: 125,
			cut: 125,
		};
		for (const [line, expected] of Object.entries(codes)) {
			const run = await shale(["run", ...flags, "--", ...line.split(" ")], { url: daemon.url });
			assert.equal(run.exitCode, expected, `${line}: ${run.stderr}`);
			if (expected === 125) assert.match(run.stderr, /^(shale: .+\n)+$/);
		}
		assert.equal(daemon.sandboxes.size, 0);
	});
}

test("a large output to a slow reader arrives whole", async () => {
	await using daemon = await FakeDaemon.start();
	const id = daemon.addSandbox();
	for (const flags of [[], ["-i"]]) {
		const env = { ...process.env, SHALE_URL: daemon.url };
		const child = spawn(process.execPath, [MAIN, "exec", ...flags, id, "--", "large"], { env });
		child.stdin.end();
		await delay(300);
		const chunks: Buffer[] = [];
		for await (const chunk of child.stdout) chunks.push(chunk);
		const expected = Buffer.concat(Array.from({ length: 256 }, (_, piece) => largePiece(piece)));
		assert.ok(Buffer.concat(chunks).equals(expected));
	}
});

test("-i forwards stdin, whatever its bytes, and its end", async () => {
	await using daemon = await FakeDaemon.start();
	const id = daemon.addSandbox();
	const stdin = Buffer.alloc(3_000_000, Buffer.from("00ff0a80c3", "hex"));
	const run = await shale(["exec", "-i", id, "--", "cat"], { url: daemon.url, stdin });
	assert.equal(run.exitCode, 0, run.stderr);
	assert.ok(run.stdout.equals(stdin));
});

test("a program that ends before its stdin does not hold the verb", async () => {
	await using daemon = await FakeDaemon.start();
	const env = { ...process.env, SHALE_URL: daemon.url };
	const child = spawn(process.execPath, [MAIN, "run", "-i", "--", "exit", "4"], { env });
	// Its stdin stays open.
	const [exitCode] = await once(child, "exit", { signal: AbortSignal.timeout(10_000) });
	assert.equal(exitCode, 4);
});

test("without -i the program's stdin is empty", async () => {
	await using daemon = await FakeDaemon.start();
	const run = await shale(["run", "--", "cat"], { url: daemon.url, stdin: "not for you" });
	assert.deepEqual([run.exitCode, run.stdout.length], [0, 0]);
});

test("a reader that has gone ends the verb quietly and the program with it", async () => {
	await using daemon = await FakeDaemon.start();
	for (const flags of [[], ["-i"]]) {
		const env = { ...process.env, SHALE_URL: daemon.url };
		const child = spawn(process.execPath, [MAIN, "run", ...flags, "--", "flood"], { env });
		let stderr = "";
		child.stderr.on("data", (chunk: Buffer) => {
			stderr += chunk;
		});
		await once(child.stdout, "data");
		child.stdout.destroy();
		const [exitCode] = await once(child, "exit", { signal: AbortSignal.timeout(10_000) });
		assert.deepEqual([exitCode, stderr], [141, ""]);
	}
	// The daemon may see the closed connection after we see the exit.
	for (let round = 0; round < 400 && daemon.killed < 2; round++) await delay(5);
	assert.equal(daemon.killed, 2);
	assert.equal(daemon.sandboxes.size, 0);
});

for (const flags of [[], ["-i"], ["-t"]]) {
	test(`run ${flags.join(" ")} forwards the first signal and kills at the second`, async () => {
		await using daemon = await FakeDaemon.start();
		let sent = 0;
		const run = await shale(["run", ...flags, "--", "wait"], {
			url: daemon.url,
			onOutput(child, stdout) {
				const lines = stdout.split("\n").length - 1;
				if (lines > sent && sent < 2) child.kill(sent++ === 0 ? "SIGINT" : "SIGTERM");
			},
		});
		assert.equal(run.stdout.toString(), "waiting\nSIGINT\nSIGKILL\n");
		assert.equal(run.exitCode, 137);
		assert.equal(daemon.sandboxes.size, 0);
	});
}

test("a signal while the sandbox is being created takes it away again", async () => {
	await using daemon = await FakeDaemon.start();
	const hold = Promise.withResolvers<void>();
	daemon.holdCreate = hold.promise;
	const env = { ...process.env, SHALE_URL: daemon.url };
	const child = spawn(process.execPath, [MAIN, "run", "--", "echo"], { env });
	while (daemon.sandboxes.size === 0) await delay(10);
	child.kill("SIGINT");
	const [exitCode] = await once(child, "exit", { signal: AbortSignal.timeout(10_000) });
	hold.resolve();
	assert.equal(exitCode, 130);
	assert.equal(daemon.sandboxes.size, 0);
});

test("a refused creation says why, with its hint, and removes nothing", async () => {
	await using daemon = await FakeDaemon.start();
	daemon.addSandbox({ id: "others" });
	daemon.refuseCreate = {
		status: 409,
		body: { code: "conflict", message: "mine exists", hint: "Choose another." },
	};
	const run = await shale(["run", "--id", "mine", "--", "echo"], { url: daemon.url });
	assert.deepEqual([run.exitCode, run.stderr], [125, "shale: mine exists\nhint: Choose another.\n"]);
	assert.deepEqual([...daemon.sandboxes.keys()], ["others"]);
});

test("run with the id of a sandbox that there is runs nothing and removes nothing", async () => {
	await using daemon = await FakeDaemon.start();
	daemon.addSandbox({ id: "mine" });
	const run = await shale(["run", "--id", "mine", "--", "echo"], { url: daemon.url });
	assert.equal(run.exitCode, 125);
	assert.match(run.stderr, /^shale: there is a sandbox mine already\nhint: .*shale exec mine -- PROGRAM\n$/);
	assert.ok(daemon.sandboxes.has("mine"));
});

test("-d and --keep leave the sandbox", async () => {
	await using daemon = await FakeDaemon.start();
	const detached = await shale(["run", "-d", "--", "sleep", "1"], { url: daemon.url });
	assert.deepEqual([...daemon.sandboxes.keys()], [detached.stdout.toString().trim()]);
	const kept = await shale(["run", "--keep", "--id", "k", "--", "echo"], { url: daemon.url });
	assert.equal(kept.stderr, "shale: the sandbox k is kept; shale rm k removes it\n");
	assert.ok(daemon.sandboxes.has("k"));
});

test("exec finds a sandbox by its id and by its name, with stdin and without", async () => {
	await using daemon = await FakeDaemon.start();
	daemon.addSandbox({ id: "sb-9", name: "box" });
	for (const flags of [[], ["-i"]]) {
		for (const place of ["sb-9", "box"]) {
			const run = await shale(["exec", ...flags, place, "--", "echo", "hi"], { url: daemon.url });
			assert.deepEqual([run.exitCode, run.stdout.toString()], [0, "hi\n"], run.stderr);
		}
		const run = await shale(["exec", ...flags, "nobody", "--", "echo"], { url: daemon.url });
		assert.deepEqual([run.exitCode, run.stderr], [125, "shale: there is no sandbox nobody\nhint: See ls.\n"]);
	}
	const detached = await shale(["exec", "-d", "box", "--", "sleep", "1"], { url: daemon.url });
	assert.match(detached.stdout.toString(), /^p-[0-9a-f]{12}\n$/);
});

test("a missing -- is explained with the line as it should be", async () => {
	const lines: Record<string, string> = {
		"run -i python3 -c x": "Write: shale run [options] -- python3 -c x",
		"exec box ls -l": "Write: shale exec [options] box -- ls -l",
		run: "For example: shale run [options] -- echo hello",
		"run --": "For example: shale run [options] -- echo hello",
		"run ls -- -l": "Options and names come before --, the program and its arguments after it.",
	};
	for (const [line, hint] of Object.entries(lines)) {
		const run = await shale(line.split(" "), { url: "http://127.0.0.1:9" });
		assert.equal(run.exitCode, 125);
		assert.match(run.stderr, /^shale: .+\nhint: .+\n$/);
		assert.ok(run.stderr.endsWith(`hint: ${hint}\n`), run.stderr);
	}
});
