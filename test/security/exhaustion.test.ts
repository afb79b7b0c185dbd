/** Attacks on what all sandboxes share: memory, processes, disk, kernel objects, and the daemon's own memory. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Attack, NO_USER_NAMESPACE, printedOk, python, testAttacks } from "../support/attack.ts";
import { missingLayers } from "../support/layers.ts";
import { mountedWith } from "../support/plan-edits.ts";
import { type PlanSandbox, startPlanSandbox } from "../support/plan-sandbox.ts";
import { missingRoot } from "../support/requirements.ts";

const MIB = 1024 * 1024;

function canHostWatch(): boolean {
	const tryInotify = "import ctypes; raise SystemExit(0 if ctypes.CDLL(None).inotify_init() >= 0 else 1)";
	return spawnSync("python3", ["-c", tryInotify]).status === 0;
}

const bigUpper = (bytes: number) => ({ input: { upper: { kind: "tmpfs", bytes } } }) as const;

const ATTACKS: readonly Attack[] = [
	{
		title: "takes 200 MiB of memory where it may have 64",
		protection: "the memory limit",
		on: { limits: { memoryBytes: 64 * MIB, swapBytes: 0 } },
		off: {},
		argv: () => python(`memory = bytearray(200 << 20); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "takes 200 MiB of shared memory, which no process's size shows",
		protection: "the memory limit",
		// At the limit the kernel throws out the pages of the program again and again, before it kills.
		guest: { timeoutMs: 2000 },
		on: { limits: { memoryBytes: 64 * MIB, swapBytes: 0 } },
		off: {},
		argv: () =>
			python(`import os
file = os.memfd_create("bomb")
for n in range(200): os.write(file, bytes(1 << 20))
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "takes 200 MiB of memory in the buffers of TCP sockets, which cgroup v1 does not count as memory",
		protection: "the memory limit and, on v1, that of socket buffers",
		on: { limits: { memoryBytes: 64 * MIB, swapBytes: 0 } },
		off: {},
		guest: { timeoutMs: 5000 },
		argv: () =>
			python(`import socket
server = socket.create_server(("127.0.0.1", 0), backlog=500)
kept = []; total = 0
for n in range(200):
    client = socket.create_connection(server.getsockname()); client.setblocking(False)
    kept += [client, server.accept()]
    try:
        while True: total += client.send(bytes(65536))
    except BlockingIOError: pass
assert total > 200 << 20, total
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "takes 200 MiB of memory in the buffers of UDP sockets",
		protection: "the memory limit and, on v1, that of socket buffers",
		on: { limits: { memoryBytes: 64 * MIB, swapBytes: 0 } },
		off: { openFiles: 10_000 },
		guest: { timeoutMs: 10_000 },
		argv: () =>
			python(`import socket
pages = lambda: int(open("/proc/net/sockstat").read().split("UDP: ")[1].split()[3])
before = pages(); kept = []
for n in range(900):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(("127.0.0.1", 0)); kept.append(receiver)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)
    for m in range(200): kept[0].sendto(bytes(1400), receiver.getsockname())
    if pages() - before > (200 << 20) / 4096: print("ok"); break`),
		hasSucceeded: printedOk,
	},
	{
		title: "takes 200 MiB of memory in the buffers of unix sockets and pipes",
		protection: "the memory limit",
		on: { limits: { memoryBytes: 64 * MIB, swapBytes: 0 }, openFiles: 10_000 },
		off: { openFiles: 10_000 },
		guest: { timeoutMs: 5000 },
		argv: () =>
			python(`import fcntl, os, socket
total = 0; kept = []
while total < 200 << 20:
    pair = socket.socketpair(); ends = os.pipe(); kept += [pair, ends]
    pair[0].setblocking(False); os.set_blocking(ends[1], False)
    for write in (pair[0].send, lambda data: os.write(ends[1], data)):
        try:
            while True: total += write(bytes(65536))
        except BlockingIOError: pass
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "has 200 processes where it may have 50",
		protection: "the limit of processes",
		on: { limits: { processes: 50 } },
		off: {},
		argv: () =>
			python(`import os, signal, time
for n in range(200):
    if os.fork() == 0: time.sleep(60)
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "has 200 threads where it may have 50 processes",
		protection: "the limit of processes",
		on: { limits: { processes: 50 } },
		off: {},
		argv: () =>
			python(`import os, threading, time
for n in range(200): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("ok", flush=True); os._exit(0)`),
		hasSucceeded: printedOk,
	},
	{
		title: "writes 100 MiB where its disk has 64",
		protection: "the quota of the writable layer",
		off: bigUpper(256 * MIB),
		argv: () => ["sh", "-c", "head -c 104857600 /dev/zero > /fill && echo ok"],
		hasSucceeded: printedOk,
	},
	{
		title: "makes 20,000 empty files, which fill no disk but the kernel's memory",
		protection: "the quota of inodes",
		off: bigUpper(256 * MIB),
		argv: () =>
			python(`for n in range(20000): open("/tmp/%0200d" % n, "w").close()
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "makes a tree of 20,000 directories in each other",
		protection: "the quota of inodes",
		off: bigUpper(256 * MIB),
		argv: () =>
			python(`import os
os.chdir("/tmp")
for n in range(20000): os.mkdir("d"); os.chdir("d")
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "fills /dev/shm beyond its size",
		protection: "the size of that file system",
		off: { editPlan: mountedWith("/dev/shm", ["nosuid", "nodev"], "mode=1777,size=268435456") },
		argv: () => ["sh", "-c", "head -c 104857600 /dev/zero > /dev/shm/fill && echo ok"],
		hasSucceeded: printedOk,
	},
	{
		title: "opens 2,000 files where it may open 1,000",
		protection: "the limit of open files",
		off: { openFiles: 4000 },
		argv: () =>
			python(`import os, resource
try: resource.setrlimit(resource.RLIMIT_NOFILE, (4000, 4000))
except ValueError: pass
for n in range(2000): os.open("/dev/null", 0)
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "takes 1,000 of the terminals that all sandboxes share",
		protection: "the limit of terminals",
		on: { openFiles: 4000 },
		off: {
			openFiles: 4000,
			editPlan: mountedWith("/dev/pts", ["nosuid", "noexec"], "newinstance,ptmxmode=0666,mode=0620,gid=5"),
		},
		argv: () =>
			python(`import os
for n in range(1000): os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
print("ok")`),
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
];

testAttacks("exhaustion", ATTACKS);

describe("a program that prints without end", {
	skip: missingRoot() || missingLayers("000-base-debian", "100-python3"),
}, () => {
	const FLOOD = ["sh", "-c", "yes 0123456789 & yes 0123456789 >&2"];
	let sandbox: PlanSandbox;
	before(async () => {
		sandbox = await startPlanSandbox();
	});
	after(() => sandbox?.close());

	/** What comes, in bytes, to a client that never reads, in the time in which an honest reader gets far more. */
	async function receivedUnread(windowBytes: number): Promise<number> {
		const process = await sandbox.agent.start({ id: `flood-${windowBytes}`, argv: FLOOD, windowBytes });
		const atStart = sandbox.bytesReceived();
		await sleep(500);
		await sandbox.agent.signal(process.id, 9, "group");
		const received = sandbox.bytesReceived() - atStart;
		for await (const _ of process.output());
		return received;
	}

	it("fills the memory of a client that does not read: is stopped", async () => {
		assert.ok((await receivedUnread(64 * 1024)) < 100 * 1024);
	});

	it("fills the memory of a client that does not read: would succeed without the credit of each reader", async () => {
		assert.ok((await receivedUnread(2 ** 30)) > 4 * MIB);
	});

	/** Growth of the agent by a flood that nobody reads. */
	async function agentGrowth(ringBytes: number): Promise<number> {
		const before = residentBytes(sandbox.hostPid);
		const id = `unread-${ringBytes}`;
		await sandbox.agent.start({ id, argv: FLOOD, ringBytes, attach: false });
		await sleep(1000);
		const growth = residentBytes(sandbox.hostPid) - before;
		await sandbox.agent.signal(id, 9, "group");
		return growth;
	}

	it("fills the memory of the agent: is stopped", async () => {
		assert.ok((await agentGrowth(1 * MIB)) < 3 * MIB);
	});

	it("fills the memory of the agent: would succeed without the bound of its rings", async () => {
		assert.ok((await agentGrowth(16 * MIB)) > 16 * MIB);
	});
});

function residentBytes(hostPid: number): number {
	const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${hostPid}/status`, "utf8"))?.[1];
	return Number(kib) * 1024;
}
