/** What an attacker may be after on a host: a file, services, a disk, shared memory, a key, a program. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, closeSync, copyFileSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agentPath, startAgent } from "./real-agent.ts";

export interface AttackedHost {
	readonly secret: string;
	readonly folder: string;
	/** Open in the programs that are run on the host, as descriptor 3. */
	readonly folderFd: number;
	/** A file with the secret that everybody may read. */
	readonly secretPath: string;
	/** Of a service on the loopback address. */
	readonly port: number;
	/** Of a service at an abstract unix address. */
	readonly abstractName: string;
	/** Of a process of root's. */
	readonly pid: number;
	/** Of a block device (major 7) that begins with the secret. */
	readonly loopMinor: number;
	/** Of a key in root's keyring with the secret. */
	readonly keyName: string;
	/** Of an agent that runs outside of any sandbox. */
	readonly agentHostPid: number;
	close(): Promise<void>;
}

export async function openAttackedHost(): Promise<AttackedHost> {
	await using opening = new AsyncDisposableStack();
	const secret = "only-the-host-may-read-this";
	const name = `shale-escape-${process.pid}`;
	const folder = mkdtempSync(join(tmpdir(), "shale-escape-"));
	opening.defer(() => rmSync(folder, { recursive: true }));
	chmodSync(folder, 0o755);
	const secretPath = join(folder, "secret");
	writeFileSync(secretPath, secret.padEnd(4096, "\n"), { mode: 0o644 });
	// What an attacker would have the host run: it leaves a mark.
	writeFileSync(join(folder, "agent-of-attacker"), `#!/bin/sh\n: > ${folder}/released\n`, { mode: 0o755 });
	const folderFd = openSync(folder, "r");
	opening.defer(() => closeSync(folderFd));

	const service = await listen({ host: "127.0.0.1", port: 0 });
	opening.defer(() => void service.close());
	const abstract = await listen({ path: `\0${name}` });
	opening.defer(() => void abstract.close());
	const address = service.address();

	const loop = run("losetup", "--find", "--show", "--read-only", secretPath);
	opening.defer(() => void run("losetup", "--detach", loop));
	const shm = run("ipcmk", "--shmem", "4096").replace(/\D/g, "");
	opening.defer(() => void run("ipcrm", "--shmem-id", shm));
	const key = addKey(name, secret);
	opening.defer(() => invalidateKey(key));

	const agentHostPath = join(folder, "agent");
	copyFileSync(agentPath, agentHostPath);
	const agent = await startAgent(agentHostPath);
	opening.defer(() => agent.stop());
	const closing = opening.move();
	return {
		...{ secret, folder, folderFd, secretPath, abstractName: name, keyName: name, pid: process.pid },
		port: typeof address === "object" && address ? address.port : 0,
		loopMinor: Number(loop.replace("/dev/loop", "")),
		agentHostPid: agent.pid,
		close: () => closing.disposeAsync(),
	};
}

function run(program: string, ...args: string[]): string {
	return execFileSync(program, args, { encoding: "utf8" }).trim();
}

async function listen(where: { host: string; port: number } | { path: string }): Promise<Server> {
	const server = createServer((socket) => socket.destroy()).listen(where);
	await new Promise((resolve, reject) => {
		server.once("listening", resolve);
		server.once("error", reject);
	});
	return server;
}

const SYS_ADD_KEY = 248;
const SYS_KEYCTL = 250;
const KEYCTL_INVALIDATE = 21;
const USER_KEYRING = -4;

/** Node has no system calls, and keyctl(1) is not everywhere. Returns the key's serial number. */
function addKey(name: string, payload: string): number {
	return inPython(
		`libc.syscall(${SYS_ADD_KEY}, b"user", b"${name}", b"${payload}", ctypes.c_size_t(${payload.length}), ${USER_KEYRING})`,
	);
}

function invalidateKey(key: number): void {
	inPython(`libc.syscall(${SYS_KEYCTL}, ${KEYCTL_INVALIDATE}, ${key})`);
}

function inPython(expression: string): number {
	const code = `import ctypes; libc = ctypes.CDLL(None); print(${expression})`;
	return Number(spawnSync("python3", ["-c", code], { encoding: "utf8" }).stdout);
}
