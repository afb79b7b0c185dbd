/** Where a reader begins: at offsets that must still be kept, at the newest bytes, or at the oldest that are left. */
import { AgentError } from "../agent/agent-error.ts";
import type { AgentConnection, ProcessStatus } from "../agent/connection.ts";
import type { AgentProcess } from "../agent/process.ts";
import { ShaleError } from "../lib/errors.ts";
import type { AttachProcess } from "./types.ts";

/** Names a process of a sandbox, for errors. */
export interface ProcessName {
	readonly sandboxId: string;
	readonly processId: string;
}

export interface AttachRequest extends AttachProcess, ProcessName {}

/** Throws `not_found`, `gone` when asked for what is no longer kept, `invalid_argument` for what is still to come. */
export async function attachAt(agent: AgentConnection, request: AttachRequest): Promise<AgentProcess> {
	const { processId, hold = false } = request;
	const offsets = await toOffsets(agent, request);
	try {
		const process = await agent.attach(processId, { ...offsets, hold });
		await checkBeginning(agent, request, process);
		return process;
	} catch (error) {
		if (!(error instanceof AgentError)) throw error;
		if (error.errnoName === "ENOENT") throw unknownProcess(request);
		if (error.errnoName === "EINVAL") throw await toBeyondEnd(agent, request);
		if (error.errnoName !== "EAGAIN") throw error;
		throw new ShaleError("resource_exhausted", `${name(request)} has 16 readers, which is the most`, {
			hint: "Try again when one of them has left.",
		});
	}
}

async function toOffsets(agent: AgentConnection, request: AttachRequest) {
	const { stdoutOffset = 0, stderrOffset = 0, tailBytes } = request;
	if (tailBytes === undefined) return { stdoutOffset, stderrOffset };
	if (request.stdoutOffset !== undefined || request.stderrOffset !== undefined) {
		throw new ShaleError("invalid_argument", "tailBytes: it cannot be given together with offsets");
	}
	const { stdoutEnd, stderrEnd } = await findStatus(agent, request);
	return {
		stdoutOffset: Math.max(0, stdoutEnd - tailBytes),
		stderrOffset: Math.max(0, stderrEnd - tailBytes),
	};
}

async function checkBeginning(agent: AgentConnection, request: AttachRequest, process: AgentProcess) {
	const { from } = process;
	const isLater = (asked: number | undefined, begins: number) => asked !== undefined && asked < begins;
	if (!isLater(request.stdoutOffset, from.stdoutOffset) && !isLater(request.stderrOffset, from.stderrOffset))
		return;
	process.detach();
	const kept = toKept(await findStatus(agent, request));
	throw new ShaleError("gone", `the output of ${name(request)} before what is asked for is no longer kept`, {
		hint: `Attach from stdoutOffset=${kept.stdoutStart} and stderrOffset=${kept.stderrStart} on.`,
		details: kept,
	});
}

async function toBeyondEnd(agent: AgentConnection, request: AttachRequest): Promise<ShaleError> {
	const kept = toKept(await findStatus(agent, request));
	const isStdout = (request.stdoutOffset ?? 0) > kept.stdoutEnd;
	const field = isStdout ? "stdoutOffset" : "stderrOffset";
	const end = isStdout ? kept.stdoutEnd : kept.stderrEnd;
	return new ShaleError("invalid_argument", `${field}: the output of ${name(request)} ends at ${end}`, {
		details: kept,
	});
}

function toKept({ stdoutStart, stdoutEnd, stderrStart, stderrEnd }: ProcessStatus) {
	return { stdoutStart, stdoutEnd, stderrStart, stderrEnd };
}

/** Throws `not_found`. */
export async function findStatus(agent: AgentConnection, process: ProcessName): Promise<ProcessStatus> {
	const status = (await agent.list()).find(({ id }) => id === process.processId);
	if (!status) throw unknownProcess(process);
	return status;
}

export function unknownProcess(process: ProcessName): ShaleError {
	const { sandboxId, processId } = process;
	return new ShaleError("not_found", `sandbox ${sandboxId} has no process ${processId}`, {
		hint: "Of processes that have ended, the newest 256 are kept, with at most 16 MiB of output in all.",
	});
}

export function name({ sandboxId, processId }: ProcessName): string {
	return `process ${processId} of sandbox ${sandboxId}`;
}
