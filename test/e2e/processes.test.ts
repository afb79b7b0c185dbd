/** Users whose daemon is killed and started again in the middle of their programs: by the SDK and by the command line. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { type ProcessEvent, type Sandbox, Shale, type WebSocketConstructor } from "../../sdk/src/index.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";
import { type KillKind, ServedDaemon } from "../support/served-daemon.ts";
import { MAIN, shale } from "../support/shale.ts";

const LAYERS = ["000-base-debian"];

/** Of util-linux: gives a program a terminal. */
const SCRIPT = "/usr/bin/script";

/** A line every 20 ms: 2 s of work. */
const COUNTING = ["sh", "-c", "for i in $(seq 100); do echo line $i; sleep 0.02; done; exit 7"];
const COUNTED = Array.from({ length: 100 }, (_, index) => `line ${index + 1}\n`).join("");

const skip = missingRoot() || missingLayers(...LAYERS);

describe("a daemon that is killed and started again", { skip }, () => {
	let daemon: ServedDaemon;
	let sandbox: Sandbox;

	before(async () => {
		daemon = await ServedDaemon.start({ layers: LAYERS });
		const client = new Shale({
			url: daemon.url,
			WebSocket: WebSocket as unknown as WebSocketConstructor,
		});
		sandbox = await client.sandboxes.create({ limits: { memoryMiB: 256, processes: 64 } });
	});
	after(async () => {
		await sandbox?.kill();
		await daemon?.stop();
		daemon?.removeFolder();
	});

	const verb = (
		args: readonly string[],
		onOutput: (child: ChildProcess, stdout: string) => void = () => undefined,
	) => shale(args, { url: daemon.url, env: { SHALE_DATA: daemon.folder }, onOutput });

	/** Once it is there again. */
	async function kill(kind: KillKind): Promise<void> {
		const { starts } = daemon;
		daemon.kill(kind);
		while (daemon.starts === starts) await sleep(10);
		await daemon.serving();
	}

	/** Kills each time that so many lines were printed. */
	function killAt(...counts: number[]) {
		let killed = Promise.resolve();
		return {
			onOutput: (_child: ChildProcess, stdout: string) => {
				const [next] = counts;
				if (next === undefined || stdout.split("\n").length <= next) return;
				counts.shift();
				killed = killed.then(() => kill("daemon"));
			},
			settled: () => killed,
		};
	}

	for (const flags of [[], ["-i"], ["-t"]]) {
		it(`shale exec ${flags.join(" ")} prints everything once and exits as the program does`, async () => {
			const { onOutput, settled } = killAt(20, 60);
			const run = await verb(["exec", ...flags, sandbox.id, "--", ...COUNTING], onOutput);
			await settled();
			// A terminal makes \n into \r\n.
			assert.equal(run.stdout.toString().replaceAll("\r", ""), COUNTED, run.stderr);
			assert.equal(run.exitCode, 7);
			assert.match(
				run.stderr,
				/^shale: the connection to the daemon is lost; waiting for it\nshale: the daemon/,
			);
		});
	}

	it("stdin and output of a session are exact over two deaths of the daemon and one of the jailer", async () => {
		const session = await sandbox.commands.open(["sh", "-c", "tee /dev/stderr"], { stdin: true });
		const sent = Buffer.alloc(4_000_000);
		for (let at = 0; at < sent.length; at += 4) sent.writeUInt32BE(at, at);
		const hashes = { stdout: createHash("sha256"), stderr: createHash("sha256") };
		const reading = (async () => {
			for await (const { stream, data } of session.output()) hashes[stream].update(data);
		})();
		for (let from = 0; from < sent.length; from += 50_000) {
			await session.write(sent.subarray(from, from + 50_000));
			if (from === 1_000_000 || from === 3_000_000) daemon.kill(from === 1_000_000 ? "daemon" : "both");
		}
		session.closeStdin();
		await reading;
		assert.equal((await session.exited).exitCode, 0);
		const expected = createHash("sha256").update(sent).digest("hex");
		assert.deepEqual([hashes.stdout.digest("hex"), hashes.stderr.digest("hex")], [expected, expected]);
	});

	it("a stream that was fed its stdin goes on with both", async () => {
		const stdin = "0123456789\n".repeat(200_000);
		const events: ProcessEvent[] = [];
		let killed: Promise<void> | undefined;
		for await (const event of sandbox.commands.stream(["sh", "-c", "sleep 0.3; md5sum; sleep 1; echo end"], {
			stdin,
		})) {
			if (event.type === "started") killed = kill("daemon");
			events.push(event);
		}
		await killed;
		const text = events.map((event) => (event.type === "output" ? Buffer.from(event.data).toString() : ""));
		assert.equal(text.join(""), `${createHash("md5").update(stdin).digest("hex")}  -\nend\n`);
	});

	it("an upgrade is such a restart", async () => {
		const running = sandbox.commands.exec("sh", ["-c", "echo a; sleep 1; echo b"]);
		await sleep(300);
		await kill("upgrade");
		assert.deepEqual([(await running).stdout, (await running).exitCode], ["a\nb\n", 0]);
	});

	it("who follows or is attached misses nothing, and the start is made once", async () => {
		const { id } = await sandbox.processes.start(COUNTING);
		const begun = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
		const logs = verb(["logs", "-f", sandbox.id, id], () => begun[0]?.resolve());
		const attached = verb(["attach", sandbox.id, id], () => begun[1]?.resolve());
		await Promise.all(begun.map(({ promise }) => promise));
		await kill("daemon");
		for (const run of [await logs, await attached]) assert.equal(run.stdout.toString(), COUNTED, run.stderr);
		assert.deepEqual([(await logs).exitCode, (await attached).exitCode], [0, 7]);
		const again = await sandbox.processes.start(COUNTING, { id });
		assert.deepEqual([again.state, again.exitCode], ["exited", 7]);
		assert.equal((await verb(["logs", "--tail", "9", sandbox.id, id])).stdout.toString(), "line 100\n");
	});

	it("a foreground program whose client is gone ends, also when the daemon is not there to see it", async () => {
		const child = spawn(process.execPath, [MAIN, "exec", sandbox.id, "--", "sleep", "1000"], {
			env: {
				PATH: process.env.PATH,
				SHALE_CONFIG: "/nonexistent",
				SHALE_DATA: daemon.folder,
				SHALE_URL: daemon.url,
			},
		});
		const isRunning = async () =>
			(await sandbox.processes.list()).some(({ argv, state }) => argv[0] === "sleep" && state === "running");
		while (!(await isRunning())) await sleep(20);
		child.kill("SIGKILL");
		while (await isRunning()) await sleep(20);
	});

	describe("shale shell", { skip: existsSync(SCRIPT) ? false : `there is no ${SCRIPT}` }, () => {
		/** A verb on a terminal of its own. */
		class Terminal {
			readonly #child: ChildProcess;
			#seen = "";

			constructor(args: readonly string[]) {
				const line = [process.execPath, MAIN, ...args].map((word) => `'${word}'`).join(" ");
				this.#child = spawn(SCRIPT, ["-qefc", line, "/dev/null"], {
					env: {
						PATH: process.env.PATH,
						TERM: "xterm",
						SHALE_CONFIG: "/nonexistent",
						SHALE_DATA: daemon.folder,
						SHALE_URL: daemon.url,
					},
				});
				this.#child.stdout?.on("data", (data: Buffer) => {
					this.#seen += data.toString();
				});
			}

			type(keys: string): void {
				this.#child.stdin?.write(keys);
			}

			/** Waits for it, and forgets what came before and it. */
			async see(expected: RegExp): Promise<void> {
				for (let tries = 0; tries < 1000; tries++) {
					const match = expected.exec(this.#seen);
					if (match) {
						this.#seen = this.#seen.slice(match.index + match[0].length);
						return;
					}
					await sleep(20);
				}
				assert.fail(`${expected} was not seen in: ${this.#seen}`);
			}

			async end(): Promise<number | null> {
				if (this.#child.exitCode === null) await once(this.#child, "exit");
				return this.#child.exitCode;
			}
		}

		it("survives the daemon, is left and found again, is watched by another, and ends as the shell does", async () => {
			const first = new Terminal(["shell", sandbox.id]);
			await first.see(/[#$] $/);
			first.type("value=$((6*7)); tty; echo is-$value\r");
			await first.see(/\/dev\/pts\/\d+\s+is-42/);
			const killed = kill("daemon");
			await first.see(/the connection to the daemon is lost; waiting for it/);
			first.type("echo still-$value\r");
			await killed;
			await first.see(/the daemon is back/);
			await first.see(/still-42/);
			const [shell] = (await sandbox.processes.list()).filter(
				({ terminal, state }) => terminal && state === "running",
			);
			assert.ok(shell);
			const watcher = new Terminal(["attach", "--read-only", sandbox.id, shell.id]);
			await watcher.see(/still-42/);
			first.type("echo seen-by-$((1+1))\r");
			await watcher.see(/seen-by-2/);
			first.type("\x10\x11");
			await first.see(new RegExp(`detached; ${shell.id} runs on\\. Attach again with: shale attach`));
			assert.equal(await first.end(), 0);
			const second = new Terminal(["attach", sandbox.id, shell.id]);
			await second.see(/seen-by-2/);
			second.type("sleep 1000\r");
			await second.see(/sleep 1000\s/);
			await sleep(200);
			second.type("\x1a");
			await second.see(/Stopped[^#$]*[#$] $/);
			second.type("fg\r");
			await second.see(/sleep 1000\s/);
			second.type("\x03");
			await second.see(/[#$] $/);
			second.type("exit 3\r");
			assert.equal(await second.end(), 3);
			assert.equal(await watcher.end(), 3);
		});

		it("reads no login profile and gives the terminal its size", async () => {
			await sandbox.commands.run(
				"echo 'echo profile-was-read' > /root/.profile; cp /root/.profile /root/.bash_profile",
			);
			const terminal = new Terminal(["shell", sandbox.id]);
			terminal.type("stty size; exit\r");
			await terminal.see(/24 80/);
			assert.equal(await terminal.end(), 0);
		});
	});
});
