/** What a request to start a process comes to, and how the same request is known again. */
import { createHash } from "node:crypto";
import { AgentError } from "../agent/agent-error.ts";
import type { AgentConnection, ProcessStatus } from "../agent/connection.ts";
import type { AgentProcess } from "../agent/process.ts";
import type { StartProcess as AgentStart } from "../agent/process-spec.ts";
import { ShaleError } from "../lib/errors.ts";
import { newId } from "../lib/ids.ts";
import type { Sandbox, StartProcess } from "./types.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** As Linux numbers it on x86-64, getrlimit(2). */
const RLIMIT_NOFILE = 7;

/** Of each output stream the agent keeps this much for those who come later. */
const RING_BYTES = 1024 * 1024;

/** How long a foreground program lives without its caller: longer than a daemon takes to be started again. */
const ORPHAN_MS = 60_000;

/** Hexadecimal digits; 128 bits. */
const TAG_LENGTH = 32;

export interface StartOptions {
	/** It belongs to its caller, and is kept after its end only when the caller chose its id. */
	readonly isForeground: boolean;
	/** What its stdin is to be, when that is known; part of what makes two requests the same. */
	readonly stdin?: Uint8Array | undefined;
}

/** What the sandbox's defaults and the request come to. */
export function toAgentStart(
	sandbox: Sandbox,
	request: StartProcess,
	{ isForeground, stdin }: StartOptions,
): AgentStart {
	const user = request.user ?? sandbox.user;
	const env = { PATH: DEFAULT_PATH, HOME: homeOf(user), ...sandbox.env, ...request.env };
	if (request.terminal && !("TERM" in env)) Object.assign(env, { TERM: "xterm-256color" });
	return {
		id: request.id ?? newId("p"),
		// Nobody can ask again for an id that they did not choose.
		tag: request.id === undefined ? "" : toTag(request, stdin),
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
		...(isForeground ? { orphanMs: ORPHAN_MS, isTransient: request.id === undefined } : { attach: false }),
	};
}

/** A digest of all that a client can ask for of a process. */
function toTag(request: StartProcess, stdin: Uint8Array | undefined): string {
	const { argv, env = {}, workdir, user, timeoutMs, terminal } = request;
	const canonical = JSON.stringify([
		argv,
		Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1)),
		workdir ?? null,
		user ?? null,
		timeoutMs ?? null,
		terminal ? [terminal.columns, terminal.rows] : null,
		request.stdin ?? false,
		stdin ? digest(stdin) : null,
	]);
	return digest(canonical).slice(0, TAG_LENGTH);
}

function digest(content: string | Uint8Array): string {
	return createHash("sha256").update(content).digest("hex");
}

function homeOf(user: string): string {
	const name = user.split(":")[0] ?? "";
	if (name === "" || name === "0" || name === "root") return "/root";
	return /^\d+$/.test(name) ? "/" : `/home/${name}`;
}

/** Either a new process, or the earlier run of the same start. */
export type Started =
	| { readonly process: AgentProcess; readonly earlier?: undefined }
	| { readonly process?: undefined; readonly earlier: ProcessStatus };

/** Throws `invalid_argument` or `conflict` with the name of the field that the agent refuses. */
export async function startOnce(agent: AgentConnection, start: AgentStart): Promise<Started> {
	try {
		return { process: await agent.start(start) };
	} catch (error) {
		if (!(error instanceof AgentError)) throw error;
		if (error.errnoName === "EEXIST") return { earlier: await findSame(agent, start) };
		if (error.errnoName !== "ENOENT") throw error;
		throw new ShaleError("invalid_argument", `user: the sandbox has no user or group "${start.user}"`, {
			hint: "Give numbers, such as 1000:1000, or names of its /etc/passwd and /etc/group.",
		});
	}
}

async function findSame(agent: AgentConnection, { id, tag }: AgentStart): Promise<ProcessStatus> {
	const earlier = (await agent.list()).find((process) => process.id === id);
	if (!earlier) {
		throw new ShaleError("unavailable", `id: process ${id} has just been removed`, {
			hint: "Send the request again.",
		});
	}
	if (tag !== "" && earlier.tag === tag) return earlier;
	throw new ShaleError("conflict", `id: the sandbox has another process ${id} already`, {
		hint: "Choose another id, or remove that process when it has ended.",
	});
}
