/** The verbs besides `run` and `exec`, each in its usual and its bad use. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { FakeDaemon } from "../../test/support/fake-daemon.ts";
import { type ShaleRun, shale } from "../../test/support/shale.ts";

function said({ exitCode, stdout, stderr }: ShaleRun): [number | null, string, string] {
	return [exitCode, stdout.toString(), stderr];
}

test("version and help need no daemon", async () => {
	const url = "http://192.0.2.1:1";
	assert.match((await shale(["version"], { url })).stdout.toString(), /^shale \d+\.\d+\.\d+\n$/);
	assert.match((await shale(["--version"], { url })).stdout.toString(), /^shale \d+\.\d+\.\d+\n$/);
	assert.match((await shale(["version", "-o", "json"], { url })).stdout.toString(), /"version": "/);
	for (const args of [[], ["help"], ["--help"]]) {
		assert.match((await shale(args, { url })).stdout.toString(), /^Usage: shale VERB/);
	}
	assert.match(
		(await shale(["help", "run"], { url })).stdout.toString(),
		/^Usage: shale run \[options\] -- PROGRAM/,
	);
});

test("version --daemon tells that of the daemon", async () => {
	await using daemon = await FakeDaemon.start();
	const run = await shale(["version", "--daemon"], { url: daemon.url });
	assert.match(run.stdout.toString(), /\ndaemon 9\.9\.9, Node v24\.0\.0, Linux 6\.1\.0\n$/);
});

test("mistakes in the line are told with what was perhaps meant, and exit with 2", async () => {
	const url = "http://127.0.0.1:9";
	assert.deepEqual(said(await shale(["lss"], { url })), [
		2,
		"",
		'shale: there is no verb "lss"\nhint: Did you mean: shale ls\n',
	]);
	assert.deepEqual(said(await shale(["xyzzy"], { url })), [
		2,
		"",
		'shale: there is no verb "xyzzy"\nhint: shale help lists the verbs.\n',
	]);
	const lines = [
		"ls --stat x",
		"ls extra",
		"inspect",
		"layers",
		"layers fly",
		"completion tcsh",
		"create --memory 1x",
	];
	for (const line of [
		...lines,
		"create --label x",
		"create --cpus 0",
		"rm",
		"rm a --all",
		"serve --idle-exit soon",
	]) {
		const run = await shale(line.split(" "), { url });
		assert.equal(run.exitCode, 2, line);
		assert.match(run.stderr, /^shale: .+\nhint: .+\n$/, line);
	}
});

test("create prints the id, or the sandbox as JSON", async () => {
	await using daemon = await FakeDaemon.start();
	assert.deepEqual(said(await shale(["create", "--id", "a"], { url: daemon.url })), [0, "a\n", ""]);
	const json = await shale(["create", "--id", "b", "-o", "json"], { url: daemon.url });
	assert.equal(JSON.parse(json.stdout.toString()).id, "b");
});

test("ls prints a table, ids, or JSON of all pages", async () => {
	await using daemon = await FakeDaemon.start();
	const escapeCharacter = String.fromCharCode(27);
	for (const id of ["a", "b", "c"]) daemon.addSandbox({ id, labels: { team: `x${escapeCharacter}[31m` } });
	const expiresAt = new Date(Date.now() + 3_600_000 - 500).toISOString();
	Object.assign(daemon.sandboxes.get("b") ?? {}, { idleTimeoutMs: 600_000, expiresAt });
	const table = (await shale(["ls"], { url: daemon.url })).stdout.toString();
	const [heading, first, second] = table.split("\n");
	assert.match(heading ?? "", /^ID +NAME +STATE +BACKEND +CPUS +MEMORY +AGE +ENDS +LABELS$/);
	assert.match(first ?? "", /^a +- +running +namespace +1 +512\.0 MiB +\d+\w +- +team=x\?\[31m$/);
	assert.match(second ?? "", /^b .* in 59m, 10m idle +team/);
	assert.equal((await shale(["ls", "-q"], { url: daemon.url })).stdout.toString(), "a\nb\nc\n");
	const json = await shale(["ls", "-o", "json"], { url: daemon.url });
	assert.equal(JSON.parse(json.stdout.toString()).sandboxes.length, 3);
});

test("inspect, ps, stats and explain show a sandbox by name", async () => {
	await using daemon = await FakeDaemon.start();
	daemon.addSandbox({ id: "sb-1", name: "box" });
	const { url } = daemon;
	assert.equal(JSON.parse((await shale(["inspect", "box"], { url })).stdout.toString()).id, "sb-1");
	assert.match(
		(await shale(["ps", "box"], { url })).stdout.toString(),
		/^PROCESS .*\np-1 +7 +exited +0 +\w+ +sleep 1\n$/,
	);
	assert.match(
		(await shale(["stats"], { url })).stdout.toString(),
		/\nsb-1 +1\.0 MiB +512\.0 MiB +2\.0 MiB +1\.50 s/,
	);
	assert.equal(
		JSON.parse((await shale(["stats", "box", "-o", "json"], { url })).stdout.toString())[0].id,
		"sb-1",
	);
	assert.equal((await shale(["explain", "box"], { url })).stdout.toString(), "clone user mount\n");
	assert.equal(
		(await shale(["explain", "--memory", "64m"], { url })).stdout.toString(),
		"mount proc /proc\n",
	);
	assert.deepEqual(daemon.requests.at(-1)?.body, { limits: { memoryMiB: 64 } });
	assert.deepEqual(said(await shale(["inspect", "no"], { url })), [
		4,
		"",
		"shale: there is no sandbox no\nhint: See ls.\n",
	]);
});

test("logs prints each stream to its own and says what is no longer kept", async () => {
	await using daemon = await FakeDaemon.start();
	daemon.addSandbox({ id: "a" });
	const run = await shale(["logs", "a"], { url: daemon.url });
	assert.deepEqual(said(run), [0, "kept\n", "shale: 10 bytes of stdout are no longer kept\nwarned\n"]);
	assert.equal((await shale(["logs", "a", "p-7"], { url: daemon.url })).exitCode, 4);
});

test("rm tries every sandbox and exits with the first failure", async () => {
	await using daemon = await FakeDaemon.start();
	for (const id of ["a", "b", "c"]) daemon.addSandbox({ id });
	const run = await shale(["rm", "a", "nobody", "b"], { url: daemon.url });
	assert.deepEqual(said(run), [4, "a\nb\n", "shale: there is no sandbox nobody\nhint: See ls.\n"]);
	assert.deepEqual(said(await shale(["rm", "--all"], { url: daemon.url })), [0, "c\n", ""]);
});

test("stop and start try every sandbox, and extend sets its end", async () => {
	await using daemon = await FakeDaemon.start();
	const { url } = daemon;
	for (const id of ["a", "b"]) daemon.addSandbox({ id, name: `name-${id}` });
	const stopped = await shale(["stop", "a", "nobody", "name-b"], { url });
	assert.deepEqual(said(stopped), [4, "a\nb\n", "shale: there is no sandbox nobody\nhint: See ls.\n"]);
	assert.equal((await shale(["ls", "-q", "--state", "stopped"], { url })).stdout.toString(), "a\nb\n");
	assert.deepEqual(said(await shale(["start", "a"], { url })), [0, "a\n", ""]);
	assert.equal(daemon.sandboxes.get("a")?.state, "running");
	assert.deepEqual(said(await shale(["extend", "a", "250ms"], { url })), [
		0,
		"2026-01-01T00:00:00.250Z\n",
		"",
	]);
	assert.deepEqual(said(await shale(["extend", "name-a", "never"], { url })), [0, "never\n", ""]);
	assert.deepEqual(daemon.requests.at(-1)?.body, { lifetimeMs: null });
	assert.equal((await shale(["extend", "a", "soon"], { url })).exitCode, 2);
});

test("create passes lifetime, idle time and what the end is", async () => {
	await using daemon = await FakeDaemon.start();
	const flags = ["--lifetime", "1h", "--idle", "10m", "--on-expiry", "stop", "--upper", "disk"];
	assert.equal((await shale(["create", ...flags], { url: daemon.url })).exitCode, 0);
	const { id, ...asked } = daemon.requests.at(-1)?.body ?? {};
	assert.match(String(id), /^sb-/);
	assert.deepEqual(asked, {
		upper: "disk",
		lifetimeMs: 3_600_000,
		idleTimeoutMs: 600_000,
		onExpiry: "stop",
	});
	assert.equal((await shale(["create", "--on-expiry", "sleep"], { url: daemon.url })).exitCode, 2);
});

test("events prints a line each, as it comes, or JSON, until the stream breaks", async () => {
	await using daemon = await FakeDaemon.start();
	const { url } = daemon;
	const lines = await shale(["events", "--sandbox", "a", "--type", "sandbox.failed", "--type", "host.leak"], {
		url,
	});
	assert.equal(
		lines.stdout.toString(),
		"2026-01-01T00:00:00.000Z  reset              -\n" +
			"2026-01-01T00:00:00.000Z  sandbox.failed     a  its agent was killed by SIGKILL\n",
	);
	assert.deepEqual(
		[lines.exitCode, lines.stderr],
		[9, "shale: the daemon closed the stream before its end\n"],
	);
	assert.equal(daemon.requests.at(-1)?.path, "/v1/events?sandbox=a&type=sandbox.failed&type=host.leak");
	const json = await shale(["events", "-o", "json", "--after", "e-1"], { url });
	const [, second = ""] = json.stdout.toString().split("\n");
	assert.deepEqual([JSON.parse(second).id, JSON.parse(second).sandboxId], ["e-3", "a"]);
	assert.equal(daemon.requests.at(-1)?.headers["last-event-id"], "e-1");
	assert.equal((await shale(["events", "--type", "sandbox.exploded"], { url })).exitCode, 2);
});

test("gc removes what nobody owns, lists it, and exits with 1 when something is left", async () => {
	await using daemon = await FakeDaemon.start();
	const { url } = daemon;
	const table = /^KIND +SANDBOX +NAME\ncgroup +sb-0 +\/sys\/fs\/cgroup\/shale\/x\/sb-0\n$/;
	const dryRun = await shale(["gc", "--dry-run"], { url });
	assert.match(dryRun.stdout.toString(), table);
	assert.deepEqual([dryRun.exitCode, daemon.requests.at(-1)?.body], [0, { dryRun: true }]);
	const run = await shale(["gc"], { url });
	assert.match(run.stdout.toString(), table);
	assert.match(run.stderr, /^shale: could not be removed:\nKIND +SANDBOX +NAME\nloop +- +\/dev\/loop7\n$/);
	assert.equal(run.exitCode, 1);
	assert.equal(JSON.parse((await shale(["gc", "-o", "json"], { url })).stdout.toString()).left.length, 1);
	daemon.leaks = [];
	assert.deepEqual(said(await shale(["gc"], { url })), [0, "", ""]);
});

test("doctor --leaks lists what nobody owns, removes nothing, and exits with 1 when there is any", async () => {
	await using daemon = await FakeDaemon.start();
	const { url } = daemon;
	const leaky = await shale(["doctor", "--leaks"], { url });
	assert.match(leaky.stdout.toString(), /^KIND +SANDBOX +NAME\ncgroup +sb-0 /);
	assert.deepEqual([leaky.exitCode, daemon.requests.at(-1)?.body], [1, { dryRun: true }]);
	const json = await shale(["doctor", "--leaks", "-o", "json"], { url });
	assert.deepEqual([json.exitCode, JSON.parse(json.stdout.toString()).leaks.length], [1, 1]);
	daemon.leaks = [];
	assert.deepEqual(said(await shale(["doctor", "--leaks"], { url })), [0, "Nothing has leaked.\n", ""]);
	assert.equal((await shale(["doctor", "--leaks"], { url: "http://127.0.0.1:9" })).exitCode, 9);
});

test("layers lists, builds with progress, imports and removes", async () => {
	await using daemon = await FakeDaemon.start();
	const { url } = daemon;
	assert.match(
		(await shale(["layers", "ls"], { url })).stdout.toString(),
		/\n000-base-debian +1\.0 MiB +\w+ +sha256:0/,
	);
	assert.match(
		(await shale(["layers", "ls", "--recipes"], { url })).stdout.toString(),
		/\n100-python3 +debian +Python\n/,
	);
	const built = await shale(["layers", "build", "100-a", "100-b"], { url });
	assert.match(built.stdout.toString(), /^100-a 2\.0 KiB sha256:0+\n100-b /);
	assert.equal(built.stderr, "100-a: fetch\n100-a: pack\n100-b: fetch\n100-b: pack\n");
	const broken = await shale(["layers", "build", "broken"], { url });
	assert.match(broken.stderr, /\nshale: mmdebstrap is not installed\nhint: Install it\.\n$/);
	assert.equal(broken.exitCode, 6);
	const folder = await mkdtemp(join(tmpdir(), "shale-cli-"));
	try {
		await writeFile(join(folder, "200-mine.squashfs"), "12345");
		const imported = await shale(["layers", "import", join(folder, "200-mine.squashfs")], { url });
		assert.match(imported.stdout.toString(), /^200-mine 5 B /);
		assert.equal((await shale(["layers", "import", join(folder, "none")], { url })).exitCode, 2);
	} finally {
		await rm(folder, { recursive: true });
	}
	assert.deepEqual(said(await shale(["layers", "rm", "000-x"], { url })), [
		5,
		"",
		"shale: 000-x is in use\n",
	]);
});

test("a daemon elsewhere that does not answer is not replaced by one here", async () => {
	const run = await shale(["ls"], { url: "https://127.0.0.1:9999" });
	assert.equal(run.exitCode, 9);
	assert.match(run.stderr, /^shale: no answer from the daemon at https:.*ECONNREFUSED\nhint: SHALE_URL says/);
	assert.equal((await shale(["ls"], { url: "nonsense" })).exitCode, 2);
});

test("the token is sent", async () => {
	await using daemon = await FakeDaemon.start();
	await shale(["ls"], { url: daemon.url, env: { SHALE_TOKEN: "secret-of-16-chars" } });
	assert.equal(daemon.requests.at(-1)?.headers.authorization, "Bearer secret-of-16-chars");
});
