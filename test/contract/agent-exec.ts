/** Programs in a sandbox, by the agent alone. */
import { AgentConnection } from "../../src/agent/connection.ts";
import type { AgentProcess } from "../../src/agent/process.ts";
import type { LaunchedSandbox } from "../../src/backends/backend.ts";

export interface ShellResult {
	readonly exitCode: number;
	readonly output: string;
}

const ENV = { PATH: "/usr/bin:/bin:/usr/sbin:/sbin" };

/** Runs it to its end. */
export function exec(sandbox: LaunchedSandbox, script: string): Promise<ShellResult> {
	return withAgent(sandbox, async (agent) =>
		follow(await agent.start({ id: `run-${script.length}`, argv: ["sh", "-c", script], env: ENV })),
	);
}

/** Starts it under this id, and leaves it alone. */
export function startInBackground(sandbox: LaunchedSandbox, id: string, script: string): Promise<void> {
	return withAgent(sandbox, async (agent) => {
		await agent.start({ id, argv: ["sh", "-c", script], env: ENV, attach: false });
	});
}

/** Output and exit of one that was left alone. */
export function collect(sandbox: LaunchedSandbox, id: string): Promise<ShellResult> {
	return withAgent(sandbox, async (agent) => follow(await agent.attach(id)));
}

async function withAgent<T>(
	sandbox: LaunchedSandbox,
	act: (agent: AgentConnection) => Promise<T>,
): Promise<T> {
	const agent = AgentConnection.open(await sandbox.connect());
	try {
		return await act(agent);
	} finally {
		agent.close();
	}
}

async function follow(process: AgentProcess): Promise<ShellResult> {
	const chunks: Buffer[] = [];
	for await (const { data } of process.output()) chunks.push(data);
	const { exitCode } = await process.exited;
	return { exitCode, output: Buffer.concat(chunks).toString() };
}
