/** Processes of a sandbox: start, attach, look at, signal, remove. The agent keeps them; this translates. */
import { AgentError } from "../agent/agent-error.ts";
import type { AgentConnection, ProcessStatus } from "../agent/connection.ts";
import type { AgentProcess } from "../agent/process.ts";
import type { StartProcess as AgentStart } from "../agent/process-spec.ts";
import { ShaleError } from "../lib/errors.ts";
import { newId } from "../lib/ids.ts";
import { parseSignal } from "../linux/signals.ts";
import { type Core, getRecord, toCallError, withAgent } from "./core.ts";
import type {
	ProcessExit,
	ProcessInfo,
	RunningProcess,
	Sandbox,
	StartProcess,
	TerminalSize,
} from "./types.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** As Linux numbers it on x86-64, getrlimit(2). */
const RLIMIT_NOFILE = 7;

/** Of each output stream the agent keeps this much for those who come later. */
const RING_BYTES = 1024 * 1024;

export function startProcess(core: Core, id: string, request: StartProcess): Promise<RunningProcess> {
	const start = toAgentStart(getRecord(core, id), request);
	return withAgent(core, id, async (agent) =>
		toRunningProcess(core, id, { agent, process: await startOn(agent, start) }),
	);
}

export function startDetached(core: Core, id: string, request: StartProcess): Promise<ProcessInfo> {
	const start = toAgentStart(getRecord(core, id), request);
	return withAgent(core, id, async (agent) => {
		await startOn(agent, { ...start, attach: false });
		return findProcess(agent, { id, processId: start.id });
	});
}

export function attachProcess(
	core: Core,
	id: string,
	{
		processId,
		...from
	}: { readonly processId: string; readonly stdoutOffset: number; readonly stderrOffset: number },
): Promise<RunningProcess> {
	return withAgent(core, id, async (agent) => {
		await findProcess(agent, { id, processId });
		return toRunningProcess(core, id, { agent, process: await agent.attach(processId, from) });
	});
}

export function listProcesses(core: Core, id: string): Promise<ProcessInfo[]> {
	return withAgent(core, id, async (agent) => (await agent.list()).map(toProcessInfo));
}

export function getProcess(core: Core, id: string, processId: string): Promise<ProcessInfo> {
	return withAgent(core, id, (agent) => findProcess(agent, { id, processId }));
}

export function signalProcess(
	core: Core,
	id: string,
	target: { readonly processId: string; readonly signal: string; readonly group: boolean },
): Promise<void> {
	const signo = parseSignal(target.signal);
	return withAgent(core, id, async (agent) => {
		const { state } = await findProcess(agent, { id, processId: target.processId });
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
		const { terminal } = await findProcess(agent, { id, processId });
		if (!terminal) throw new ShaleError("conflict", `process ${processId} of sandbox ${id} has no terminal`);
		await agent.resize(processId, size);
	});
}

export function removeProcess(core: Core, id: string, processId: string): Promise<void> {
	return withAgent(core, id, async (agent) => {
		const { state } = await findProcess(agent, { id, processId });
		if (state === "running") {
			throw new ShaleError("conflict", `process ${processId} of sandbox ${id} is running`, {
				hint: "Signal it first: only finished processes are removed.",
			});
		}
		await agent.forget(processId);
	});
}

/** Names the field that the agent refuses. */
export async function startOn(agent: AgentConnection, start: AgentStart): Promise<AgentProcess> {
	try {
		return await agent.start(start);
	} catch (error) {
		if (!(error instanceof AgentError)) throw error;
		if (error.errnoName === "ENOENT") {
			throw new ShaleError("invalid_argument", `user: the sandbox has no user or group "${start.user}"`, {
				hint: "Give numbers, such as 1000:1000, or names of its /etc/passwd and /etc/group.",
			});
		}
		if (error.errnoName === "EEXIST") {
			throw new ShaleError("conflict", `id: the sandbox has a process ${start.id} already`, {
				hint: "Choose another id, or remove that process when it has ended.",
			});
		}
		throw error;
	}
}

/** What the sandbox's defaults and the request come to. */
export function toAgentStart(sandbox: Sandbox, request: StartProcess): AgentStart {
	const user = request.user ?? sandbox.user;
	const env = { PATH: DEFAULT_PATH, HOME: homeOf(user), ...sandbox.env, ...request.env };
	if (request.terminal && !("TERM" in env)) Object.assign(env, { TERM: "xterm-256color" });
	return {
		id: request.id ?? newId("p"),
		argv: request.argv,
		env,
		cwd: request.workdir ?? sandbox.workdir,
		// The agent's own word for root, for which it reads no /etc/passwd.
		user: user === "0" ? "" : user,
		timeoutMs: request.timeoutMs ?? 0,
		ringBytes: RING_BYTES,
		stdin: request.stdin ?? false,
		// On each program instead of on the agent, which needs descriptors for all of them.
		limits: [{ resource: RLIMIT_NOFILE, soft: sandbox.limits.openFiles, hard: sandbox.limits.openFiles }],
		...(request.terminal ? { pty: request.terminal } : {}),
	};
}

function homeOf(user: string): string {
	const name = user.split(":")[0] ?? "";
	if (name === "" || name === "0" || name === "root") return "/root";
	return /^\d+$/.test(name) ? "/" : `/home/${name}`;
}

async function findProcess(
	agent: AgentConnection,
	{ id, processId }: { readonly id: string; readonly processId: string },
): Promise<ProcessInfo> {
	const status = (await agent.list()).find((process) => process.id === processId);
	if (!status) throw new ShaleError("not_found", `sandbox ${id} has no process ${processId}`);
	return toProcessInfo(status);
}

function toProcessInfo(status: ProcessStatus): ProcessInfo {
	const { exit } = status;
	return {
		id: status.id,
		guestPid: status.guestPid,
		argv: status.argv,
		state: status.state,
		terminal: status.pty,
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
		writeStdin: (chunk) => agent.writeStdin(process.id, chunk).catch(fail),
		closeStdin: () => void agent.closeStdin(process.id).catch(() => undefined),
		detach: () => process.detach(),
	};
}

export function toExit(exit: Awaited<AgentProcess["exited"]>): ProcessExit {
	const { exitCode, signal, timedOut, userTimeMs, systemTimeMs, maxRssKiB } = exit;
	return { exitCode, signal: signal ?? null, timedOut, userTimeMs, systemTimeMs, maxRssKiB };
}
