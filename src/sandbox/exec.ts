/** Exec: run to the end and capture. The program belongs to its caller: when the caller gives up, it is killed. */
import { constants } from "node:os";
import { performance } from "node:perf_hooks";
import type { AgentConnection } from "../agent/connection.ts";
import type { AgentProcess } from "../agent/process.ts";
import { ShaleError } from "../lib/errors.ts";
import { MIB } from "../lib/units.ts";
import { type Core, getRecord, withAgent } from "./core.ts";
import { startOn, toAgentStart, toExit } from "./processes.ts";
import type { ExecResult, ExecSandbox, Sandbox } from "./types.ts";

const DEFAULT_OUTPUT_BYTES = MIB;

export type ExecRequest = ExecSandbox & { readonly signal?: AbortSignal | undefined };

export function execInSandbox(core: Core, id: string, request: ExecRequest): Promise<ExecResult> {
	const sandbox = getRecord(core, id);
	return withAgent(core, id, (agent) => run(agent, sandbox, request));
}

async function run(
	agent: AgentConnection,
	sandbox: Sandbox,
	{ signal, ...request }: ExecRequest,
): Promise<ExecResult> {
	const startedAt = performance.now();
	const start = toAgentStart(sandbox, { ...request, stdin: request.stdin !== undefined });
	const process = await startOn(agent, { ...start, isTransient: true });
	const kill = () => void agent.signal(process.id, constants.signals.SIGKILL, "group").catch(() => undefined);
	signal?.addEventListener("abort", kill, { once: true });
	if (signal?.aborted) kill();
	try {
		const feeding = request.stdin ? feed(agent, process.id, request.stdin) : undefined;
		const output = await capture(process, request.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES);
		const exit = toExit(await process.exited);
		await feeding;
		if (signal?.aborted)
			throw new ShaleError("cancelled", `exec in sandbox ${sandbox.id}: the caller gave up`);
		return { processId: process.id, ...exit, ...output, durationMs: performance.now() - startedAt };
	} finally {
		signal?.removeEventListener("abort", kill);
	}
}

/** Reads all, so that the program is never held up, and keeps the first `limitBytes` of each stream. */
async function capture(process: AgentProcess, limitBytes: number) {
	const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
	const room = { stdout: limitBytes, stderr: limitBytes };
	let truncated = false;
	for await (const { stream, data } of process.output()) {
		if (data.length > room[stream]) truncated = true;
		const part = data.subarray(0, room[stream]);
		if (part.length > 0) kept[stream].push(part);
		room[stream] -= part.length;
	}
	return { stdout: Buffer.concat(kept.stdout), stderr: Buffer.concat(kept.stderr), truncated };
}

/** A program that closes its stdin early or exits makes no error: its exit tells what happened. */
async function feed(agent: AgentConnection, processId: string, stdin: Uint8Array): Promise<void> {
	await agent.writeStdin(processId, stdin).catch(() => undefined);
	await agent.closeStdin(processId).catch(() => undefined);
}
