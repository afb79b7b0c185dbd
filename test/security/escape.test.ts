/**
 * Each attack is run twice: as sandboxes are, where it must fail, and with the protection that stops it taken
 * out of the plan, where it must succeed: otherwise the test would prove nothing.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fromMask, toCapabilityMasks } from "../../src/linux/capabilities.ts";
import { op, type Plan } from "../../src/linux/plan.ts";
import { missingLayers } from "../support/layers.ts";
import {
	type GuestResult,
	type PlanSandboxOptions,
	startPlanSandbox,
	without,
} from "../support/plan-sandbox.ts";
import { missingRoot } from "../support/requirements.ts";

const SECRET = "only-the-host-may-read-this";

interface Attack {
	readonly title: string;
	/** What keeps it out, for the title of the second run. */
	readonly protection: string;
	/** How the sandbox of the second run is made; `no sandbox` runs the attack on the host as it is. */
	readonly off: PlanSandboxOptions | "no sandbox";
	readonly user?: string;
	/** Run as root of the sandbox before. */
	readonly prepare?: readonly string[];
	argv(host: Host): readonly string[];
	/** Whether the attacker got what it wanted. */
	hasSucceeded(result: GuestResult): boolean;
}

interface Host {
	readonly secretPath: string;
	readonly port: number;
	readonly pid: number;
	readonly loopMinor: number;
}

const NO_USER_NAMESPACE = { hostIdBase: undefined } as const;

/** All capabilities that this machine has, and no seccomp filter: what remains are the namespaces. */
function unconfined(plan: Plan): Plan {
	const bounding = /^CapBnd:\s+([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
	const masks = toCapabilityMasks(fromMask(BigInt(`0x${bounding}`)));
	return without("seccomp")(plan).map((step) => (step[0] === "capabilities" ? op.capabilities(masks) : step));
}

/** The plan without some namespaces, and without the steps that need one of its own. */
function sharing(...namespaces: ("pid" | "net" | "ipc")[]): (plan: Plan) => Plan {
	const steps = { pid: [], net: ["/sys", "netlink"], ipc: ["/dev/mqueue"] };
	const dropped = namespaces.flatMap((namespace) => steps[namespace] as string[]);
	return (plan) =>
		plan
			.filter((step) => !dropped.includes(String(step[0] === "mount" ? step[2] : step[0])))
			.map((step) =>
				step[0] === "clone"
					? ["clone", ...step.slice(1).filter((word) => !(namespaces as unknown[]).includes(word))]
					: step,
			);
}

const python = (code: string) => ["python3", "-c", code];

/** A system call by number and its arguments; prints `ok` or the errno's name. */
const syscall = (number: number, ...args: readonly (number | string)[]) =>
	python(
		`import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
result = libc.syscall(${[number, ...args].join(", ")})
print("ok" if result >= 0 else errno.errorcode[ctypes.get_errno()])`,
	);

const printedOk = ({ output }: GuestResult) => output.trim() === "ok";
const exitedZero = ({ exitCode }: GuestResult) => exitCode === 0;
const readTheSecret = ({ output }: GuestResult) => output.includes(SECRET);

function canHostWatch(): boolean {
	const tryInotify = "import ctypes; raise SystemExit(0 if ctypes.CDLL(None).inotify_init() >= 0 else 1)";
	return spawnSync("python3", ["-c", tryInotify]).status === 0;
}

const SYS_PTRACE = 101;
const PTRACE_SEIZE = 0x4206;
const SYS_UNSHARE = 272;
const CLONE_NEWUSER = 0x1000_0000;

const ATTACKS: readonly Attack[] = [
	{
		title: "reads a host file by going up with ..",
		protection: "a root file system of its own",
		off: "no sandbox",
		argv: ({ secretPath }) => ["cat", `/../../../../../..${secretPath}`],
		hasSucceeded: readTheSecret,
	},
	{
		title: "reads a host file through a symlink of its own",
		protection: "a root file system of its own",
		off: "no sandbox",
		argv: ({ secretPath }) =>
			python(`import os; p = "/tmp/shale-link-%d" % os.getpid(); os.symlink("${secretPath}", p)
try: print(open(p).read())
finally: os.unlink(p)`),
		hasSucceeded: readTheSecret,
	},
	{
		title: "reads a host file through /proc/PID/root",
		protection: "the pid namespace, the user namespace and the dropped capabilities",
		off: { input: NO_USER_NAMESPACE, editPlan: (plan) => unconfined(sharing("pid")(plan)) },
		argv: ({ secretPath, pid }) => ["cat", `/proc/${pid}/root${secretPath}`],
		hasSucceeded: readTheSecret,
	},
	{
		title: "mounts a file system",
		protection: "seccomp and the dropped capabilities",
		off: { editPlan: unconfined },
		argv: () => ["mount", "-t", "tmpfs", "none", "/mnt"],
		hasSucceeded: exitedZero,
	},
	{
		title: "makes a device node of a host disk and reads it",
		protection: "the user namespace, nodev and the dropped capabilities",
		off: {
			input: NO_USER_NAMESPACE,
			editPlan: (plan) =>
				unconfined(plan).map((step) => (step[0] === "root_end" ? op.rootEnd(["nosuid"]) : step)),
		},
		argv: ({ loopMinor }) =>
			python(`import os, stat; os.mknod("/disk", 0o600 | stat.S_IFBLK, os.makedev(7, ${loopMinor}))
print(open("/disk", "rb").read(512))`),
		hasSucceeded: readTheSecret,
	},
	{
		title: "traces the agent",
		protection: "the dropped CAP_SYS_PTRACE and the agent not being dumpable",
		off: { editPlan: unconfined },
		argv: () => syscall(SYS_PTRACE, `ctypes.c_long(${PTRACE_SEIZE})`, "ctypes.c_long(1)", 0, 0),
		hasSucceeded: printedOk,
	},
	{
		title: "writes to /proc/sys",
		protection: "the read-only /proc/sys and the user namespace",
		off: { input: NO_USER_NAMESPACE, editPlan: without("readonly") },
		argv: () =>
			python(`p = "/proc/sys/vm/swappiness"; v = open(p).read(); open(p, "w").write(v); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "signals a host process",
		protection: "the pid namespace and the user namespace",
		off: { input: NO_USER_NAMESPACE, editPlan: sharing("pid") },
		argv: ({ pid }) => python(`import os; os.kill(${pid}, 0); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "makes a user namespace, in which it would have all capabilities",
		protection: "seccomp",
		off: { editPlan: without("seccomp") },
		argv: () => syscall(SYS_UNSHARE, CLONE_NEWUSER),
		hasSucceeded: printedOk,
	},
	{
		title: "connects to a service on the host's loopback",
		protection: "the network namespace",
		off: { editPlan: sharing("net") },
		argv: ({ port }) =>
			python(`import socket; socket.create_connection(("127.0.0.1", ${port}), 2); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "reads the host's kernel log",
		protection: "seccomp, the user namespace and the dropped CAP_SYSLOG",
		off: { input: NO_USER_NAMESPACE, editPlan: unconfined },
		argv: () => ["dmesg"],
		hasSucceeded: exitedZero,
	},
	{
		title: "lists the host's keys in /proc/keys",
		protection: "the mask over it",
		off: { editPlan: without("mask") },
		argv: () => python(`assert len(open("/proc/keys").read()) > 0; print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "reads what the kernel tells about its memory to root only",
		protection: "the user namespace, or the mask where there is none",
		off: { input: NO_USER_NAMESPACE, editPlan: without("mask") },
		argv: () => python(`assert len(open("/proc/vmallocinfo").read()) > 0; print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "sees the host's System V shared memory",
		protection: "the ipc namespace",
		off: { editPlan: sharing("ipc") },
		argv: () => python(`assert len(open("/proc/sysvipc/shm").readlines()) > 1; print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "uses up the inotify instances of the host's root",
		protection: "a user namespace that its own root has made",
		off: { input: NO_USER_NAMESPACE },
		argv: () =>
			python(`import ctypes, os, time
libc = ctypes.CDLL(None)
while libc.inotify_init() >= 0: pass
if os.fork() == 0: time.sleep(60)`),
		hasSucceeded: () => !canHostWatch(),
	},
	{
		title: "becomes root by a setuid program",
		protection: "no_new_privs and nosuid",
		user: "1000:1000",
		off: {
			editPlan: (plan) =>
				without(
					"no_new_privs",
					"seccomp",
				)(plan).map((step) => (step[0] === "root_end" ? op.rootEnd(["nodev"]) : step)),
		},
		prepare: ["sh", "-c", "cp /usr/bin/id /usr/local/bin/root-id && chmod 4755 /usr/local/bin/root-id"],
		argv: () => ["/usr/local/bin/root-id", "-u"],
		hasSucceeded: ({ output }) => output.trim() === "0",
	},
];

const skip = missingRoot() || missingLayers("000-base-debian", "100-python3");

describe("an attacker inside a sandbox", { skip }, () => {
	const folder = mkdtempSync(join(tmpdir(), "shale-escape-"));
	let host: Host;
	let server: Server;
	let shmId: string;
	let loop: string;

	before(async () => {
		const secretPath = join(folder, "secret");
		writeFileSync(secretPath, SECRET.padEnd(4096, "\n"), { mode: 0o644 });
		execFileSync("chmod", ["755", folder]);
		server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
		await new Promise((resolve) => server.once("listening", resolve));
		const address = server.address();
		loop = execFileSync("losetup", ["--find", "--show", "--read-only", secretPath], {
			encoding: "utf8",
		}).trim();
		shmId = execFileSync("ipcmk", ["--shmem", "4096"], { encoding: "utf8" }).replace(/\D/g, "");
		host = {
			secretPath,
			port: typeof address === "object" && address ? address.port : 0,
			pid: process.pid,
			loopMinor: Number(loop.replace("/dev/loop", "")),
		};
	});

	after(() => {
		server?.close();
		if (loop) execFileSync("losetup", ["--detach", loop]);
		if (shmId) execFileSync("ipcrm", ["--shmem-id", shmId]);
		rmSync(folder, { recursive: true });
	});

	for (const attack of ATTACKS) {
		it(`${attack.title}: is stopped`, () => expectOutcome(attack, { succeeds: false, options: {} }));
		it(`${attack.title}: would succeed without ${attack.protection}`, () =>
			attack.off === "no sandbox"
				? expectOnHost(attack)
				: expectOutcome(attack, { succeeds: true, options: attack.off }));
	}

	function expectOnHost(attack: Attack): void {
		const [program = "", ...args] = attack.argv(host);
		const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
		assert.ok(attack.hasSucceeded({ exitCode: status ?? -1, output: stdout + stderr }), stderr);
	}

	async function expectOutcome(
		attack: Attack,
		{ succeeds, options }: { readonly succeeds: boolean; readonly options: PlanSandboxOptions },
	): Promise<void> {
		const sandbox = await startPlanSandbox(options);
		try {
			if (attack.prepare) assert.equal((await sandbox.exec(attack.prepare)).exitCode, 0);
			const result = await sandbox.exec(
				attack.argv(host),
				attack.user === undefined ? {} : { user: attack.user },
			);
			assert.equal(attack.hasSucceeded(result), succeeds, `exit ${result.exitCode}: ${result.output}`);
		} finally {
			await sandbox.close();
		}
	}
});
