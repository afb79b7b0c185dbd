/**
 * Exec: run to the end and capture. The program belongs to its caller: when the caller gives up, it is killed. When the
 * daemon stops, nobody has given up: a caller that chose its id asks again, and follows the run.
 */
import { constants } from "node:os";
import { performance } from "node:perf_hooks";
import type { AgentConnection } from "../agent/connection.ts";
import type { AgentProcess } from "../agent/process.ts";
import { ShaleError } from "../lib/errors.ts";
import { MIB } from "../lib/units.ts";
import { type Core, getRecord, withAgent } from "./core.ts";
import { attachAt } from "./process-attach.ts";
import { startOnce, toAgentStart } from "./process-start.ts";
import { toExit } from "./processes.ts";
import type { ExecResult, ExecSandbox, Sandbox } from "./types.ts";

const DEFAULT_OUTPUT_BYTES = MIB;

/** When `signal` aborts with a ShaleError `unavailable`, which is the daemon's stop, the program is left running. */
export type ExecRequest = ExecSandbox & { readonly signal?: AbortSignal | undefined };

export function execInSandbox(core: Core, id: string, request: ExecRequest): Promise<ExecResult> {
	const sandbox = getRecord(core, id);
	return withAgent(core, id, (agent) => execOn(agent, sandbox, request));
}

/** Throws `cancelled`, or the signal's own reason when the daemon stops. */
export async function execOn(
	agent: AgentConnection,
	sandbox: Sandbox,
	{ signal, stdin, ...request }: ExecRequest,
): Promise<ExecResult> {
	if (signal?.aborted) throw toAbortError(sandbox, signal);
	const startedAt = performance.now();
	const { process, input } = await run(agent, sandbox, { ...request, stdin });
	const owner = takeOver(agent, process.id);
	const onAbort = () => {
		if ((signal && isStopping(signal)) || !owner.isLatest()) process.detach();
		else void agent.signal(process.id, constants.signals.SIGKILL, "group").catch(() => undefined);
	};
	signal?.addEventListener("abort", onAbort, { once: true });
	if (signal?.aborted) onAbort();
	try {
		const feeding = input && feed(agent, process.id, input);
		const output = await capture(process, request.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES);
		if (signal?.aborted) throw toAbortError(sandbox, signal);
		const exit = toExit(await process.exited);
		await feeding;
		return { processId: process.id, ...exit, ...output, durationMs: performance.now() - startedAt };
	} finally {
		signal?.removeEventListener("abort", onAbort);
		owner.leave();
	}
}

/** By process id, the latest caller. */
const latestCallers = new WeakMap<AgentConnection, Map<string, symbol>>();

/** A caller may come back before its old connection is found dead: the program is the new one's to end then. */
function takeOver(agent: AgentConnection, processId: string) {
	const callers = latestCallers.get(agent) ?? new Map<string, symbol>();
	latestCallers.set(agent, callers);
	const caller = Symbol(processId);
	callers.set(processId, caller);
	const isLatest = () => callers.get(processId) === caller;
	return { isLatest, leave: () => isLatest() && callers.delete(processId) };
}

interface Run {
	readonly process: AgentProcess;
	/** What is still to be written. */
	readonly input: Uint8Array | undefined;
}

/** Starts the program, or follows the earlier run of the same request. */
async function run(agent: AgentConnection, sandbox: Sandbox, request: ExecSandbox): Promise<Run> {
	const { stdin, ...rest } = request;
	const asked = { ...rest, stdin: stdin !== undefined };
	const start = toAgentStart(sandbox, asked, { isForeground: true, stdin });
	const { process, earlier } = await startOnce(agent, start);
	if (process) return { process, input: stdin };
	// One who writes through this connection goes on; otherwise nobody does, and we go on where the last one stopped.
	const isOpen = earlier.stdin === "open" && !agent.isWriting(earlier.id);
	return {
		process: await attachAt(agent, { sandboxId: sandbox.id, processId: earlier.id, hold: true }),
		input: isOpen ? stdin?.subarray(earlier.stdinEnd) : undefined,
	};
}

function isStopping({ reason }: AbortSignal): boolean {
	return reason instanceof ShaleError && reason.code === "unavailable";
}

function toAbortError(sandbox: Sandbox, signal: AbortSignal): unknown {
	if (isStopping(signal)) return signal.reason;
	return new ShaleError("cancelled", `exec in sandbox ${sandbox.id}: the caller gave up`);
}

/** Reads all, so that the program is never held up, and keeps the first `limitBytes` of each stream. */
async function capture(process: AgentProcess, limitBytes: number) {
	const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
	const room = { stdout: limitBytes, stderr: limitBytes };
	// Of an earlier run the beginning may be kept no longer.
	let truncated = process.from.stdoutOffset > 0 || process.from.stderrOffset > 0;
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
