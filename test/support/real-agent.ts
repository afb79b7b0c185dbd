/** For tests: the real agent as an ordinary child process, without root and without a sandbox. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Stream } from "node:stream";
import { fileURLToPath } from "node:url";
import { AgentConnection } from "../../src/agent/connection.ts";

export const agentPath = fileURLToPath(new URL("../../native/build/agent", import.meta.url));

/** For `skip`: why these tests cannot run, or false. */
export function missingAgent(): string | false {
	if (existsSync(agentPath)) return false;
	if (process.env.SHALE_TEST_MUST_RUN)
		throw new Error("SHALE_TEST_MUST_RUN is set, but native/build/agent is missing");
	return "needs native/build/agent";
}

export interface RealAgent {
	readonly pid: number;
	/** A new connection, greeted; the agent drops the one before. */
	open(): Promise<AgentConnection>;
	/** A bare connection. */
	connect(): Promise<Socket>;
	/** Pids of the processes that the agent is the parent of. */
	children(): number[];
	stop(): Promise<void>;
}

export async function startAgent(path = agentPath): Promise<RealAgent> {
	const directory = await mkdtemp(join(tmpdir(), "shale-agent-"));
	const socketPath = join(directory, "agent.sock");
	const boundPath = join(directory, "bound.sock");
	const server = createServer();
	server.listen(boundPath);
	await once(server, "listening");
	// Not in the types: node:child_process takes libuv's handles, and so a listening socket.
	const handle = Reflect.get(server, "_handle") as Stream;
	const child = spawn(path, [], { stdio: ["ignore", "ignore", "inherit", handle] });
	await once(child, "spawn");
	const pid = child.pid ?? 0;
	// Closing removes the file that was bound, so that is not where it is any more.
	await rename(boundPath, socketPath);
	server.close();

	const connectSocket = async () => {
		const socket = connect(socketPath);
		await once(socket, "connect");
		return socket;
	};
	const children = () => {
		const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
		return text.split(" ").filter(Boolean).map(Number);
	};
	return {
		pid,
		children,
		connect: connectSocket,
		open: async () => AgentConnection.open(await connectSocket()),
		stop: async () => {
			for (const guestPid of children()) killGroup(guestPid);
			child.kill("SIGKILL");
			if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
			await rm(directory, { recursive: true });
		},
	};
}

function killGroup(pid: number): void {
	try {
		process.kill(-pid, "SIGKILL");
	} catch {
		// It has ended, or is an orphan in a group of another.
	}
}
