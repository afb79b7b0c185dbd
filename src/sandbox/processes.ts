/** Processes of a sandbox: start, attach, look at, write to, signal, remove. The agent keeps them; this translates. */
import { AgentError } from "../agent/agent-error.ts";
import type { AgentConnection, ProcessStatus } from "../agent/connection.ts";
import type { AgentProcess } from "../agent/process.ts";
import { ShaleError } from "../lib/errors.ts";
import { parseSignal } from "../linux/signals.ts";
import { type Core, getRecord, holdActive, toCallError, withAgent } from "./core.ts";
import { attachAt, findStatus, name, type ProcessName, unknownProcess } from "./process-attach.ts";
import { startOnce, toAgentStart } from "./process-start.ts";
import type {
	AttachProcess,
	ProcessExit,
	ProcessInfo,
	RunningProcess,
	StartProcess,
	TerminalSize,
} from "./types.ts";

export function startProcess(core: Core, id: string, request: StartProcess): Promise<RunningProcess> {
	const start = toAgentStart(getRecord(core, id), request, { isForeground: true });
	return withAgent(core, id, async (agent) => {
		const { process, earlier } = await startOnce(agent, start);
		const reader = process ?? (await attachAt(agent, { sandboxId: id, processId: earlier.id, hold: true }));
		return toRunningProcess(core, id, { agent, process: reader });
	});
}

export function startDetached(core: Core, id: string, request: StartProcess): Promise<ProcessInfo> {
	const start = toAgentStart(getRecord(core, id), request, { isForeground: false });
	return withAgent(core, id, async (agent) => {
		const { earlier } = await startOnce(agent, start);
		return toProcessInfo(earlier ?? (await findStatus(agent, { sandboxId: id, processId: start.id })));
	});
}

export function attachProcess(
	core: Core,
	id: string,
	{ processId, ...options }: AttachProcess & { readonly processId: string },
): Promise<RunningProcess> {
	return withAgent(core, id, async (agent) => {
		const process = await attachAt(agent, { ...options, sandboxId: id, processId });
		return toRunningProcess(core, id, { agent, process });
	});
}

export function writeStdin(
	core: Core,
	id: string,
	{ processId, chunk }: { readonly processId: string; readonly chunk: Uint8Array },
): Promise<void> {
	return withAgent(core, id, (agent) => writeTo(agent, { sandboxId: id, processId }, chunk));
}

export function closeStdin(core: Core, id: string, processId: string): Promise<void> {
	return withAgent(core, id, async (agent) => {
		try {
			await agent.closeStdin(processId);
		} catch (error) {
			throw toStdinError(error, { sandboxId: id, processId });
		}
	});
}

export function listProcesses(core: Core, id: string): Promise<ProcessInfo[]> {
	return withAgent(core, id, async (agent) => (await agent.list()).map(toProcessInfo));
}

export function getProcess(core: Core, id: string, processId: string): Promise<ProcessInfo> {
	return withAgent(core, id, async (agent) =>
		toProcessInfo(await findStatus(agent, { sandboxId: id, processId })),
	);
}

export function signalProcess(
	core: Core,
	id: string,
	target: { readonly processId: string; readonly signal: string; readonly group: boolean },
): Promise<void> {
	const signo = parseSignal(target.signal);
	return withAgent(core, id, async (agent) => {
		const { state } = await findStatus(agent, { sandboxId: id, processId: target.processId });
		if (state === "exited") return;
		await agent.signal(target.processId, signo, target.group ? "group" : "process");
	});
}

export function resizeTerminal(
	core: Core,
	id: string,
	{ processId, size }: { readonly processId: string; readonly size: TerminalSize },
): Promise<void> {
	return withAgent(core, id, async (agent) => {
		const { pty } = await findStatus(agent, { sandboxId: id, processId });
		if (!pty) throw new ShaleError("conflict", `process ${processId} of sandbox ${id} has no terminal`);
		await agent.resize(processId, size);
	});
}

export function removeProcess(core: Core, id: string, processId: string): Promise<void> {
	return withAgent(core, id, async (agent) => {
		const { state } = await findStatus(agent, { sandboxId: id, processId });
		if (state === "running") {
			throw new ShaleError("conflict", `process ${processId} of sandbox ${id} is running`, {
				hint: "Signal it first: only finished processes are removed.",
			});
		}
		await agent.forget(processId);
	});
}

async function writeTo(agent: AgentConnection, process: ProcessName, chunk: Uint8Array): Promise<void> {
	try {
		await agent.writeStdin(process.processId, chunk);
	} catch (error) {
		throw toStdinError(error, process);
	}
}

/** Says what the agent's refusal means here; other errors stay as they are. */
function toStdinError(error: unknown, process: ProcessName): unknown {
	if (!(error instanceof AgentError)) return error;
	if (error.errnoName === "ENOENT") return unknownProcess(process);
	if (error.errnoName !== "EPIPE") return error;
	return new ShaleError("conflict", `the stdin of ${name(process)} is closed`, {
		hint: "A process takes input only when it was started with stdin, and until that is closed or it ends.",
		cause: error,
	});
}

/** Pure. */
export function toProcessInfo(status: ProcessStatus): ProcessInfo {
	const { exit } = status;
	return {
		id: status.id,
		guestPid: status.guestPid,
		argv: status.argv,
		state: status.state,
		terminal: status.pty,
		stdinEnd: status.stdin === "none" ? null : status.stdinEnd,
		startedAt: new Date(status.startedMs).toISOString(),
		endedAt: status.state === "exited" ? new Date(status.endedMs).toISOString() : null,
		exitCode: exit?.exitCode ?? null,
		signal: exit?.signal ?? null,
		timedOut: status.timedOut,
		stdoutStart: status.stdoutStart,
		stdoutEnd: status.stdoutEnd,
		stderrStart: status.stderrStart,
		stderrEnd: status.stderrEnd,
	};
}

function toRunningProcess(
	core: Core,
	id: string,
	{ agent, process }: { readonly agent: AgentConnection; readonly process: AgentProcess },
): RunningProcess {
	const fail = async (error: unknown): Promise<never> => {
		throw await toCallError(core, id, error);
	};
	const exited = process.exited.then(toExit, fail);
	const release = holdActive(core, id);
	process.exited.then(release, release);
	// A client may leave without waiting for the exit.
	exited.catch(() => undefined);
	return {
		id: process.id,
		guestPid: process.guestPid,
		from: process.from,
		async *output() {
			try {
				yield* process.output();
			} catch (error) {
				await fail(error);
			}
		},
		exited,
		writeStdin: (chunk) => writeTo(agent, { sandboxId: id, processId: process.id }, chunk).catch(fail),
		closeStdin: () => void agent.closeStdin(process.id).catch(() => undefined),
		detach: () => process.detach(),
	};
}

export function toExit(exit: Awaited<AgentProcess["exited"]>): ProcessExit {
	const { exitCode, signal, timedOut, userTimeMs, systemTimeMs, maxRssKiB } = exit;
	return { exitCode, signal: signal ?? null, timedOut, userTimeMs, systemTimeMs, maxRssKiB };
}
