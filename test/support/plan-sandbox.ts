/**
 * A sandbox made straight from a plan, without a daemon, so that a test can take a protection out of the plan
 * and show that the attack then works.
 */

import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { constants, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { AgentConnection, type StartProcess } from "../../src/agent/connection.ts";
import { compileLaunchPlan, type LaunchPlanInput } from "../../src/backends/namespace/launch-plan.ts";
import { findNativePrograms } from "../../src/daemon/native-programs.ts";
import {
	detectCgroups,
	planCreate,
	planRemove,
	planRemoveParents,
	prepareCgroups,
	type SandboxLimits,
} from "../../src/linux/cgroups.ts";
import { Jailer, type JailerExit } from "../../src/linux/jailer.ts";
import { type Op, op } from "../../src/linux/plan.ts";
import { compileSeccomp } from "../../src/linux/seccomp.ts";
import { DEFAULT_PROFILE } from "../../src/linux/seccomp-default.ts";
import { findIdMapping } from "./id-mapping.ts";
import { layerHostPath } from "./layers.ts";
import type { PlanEdit } from "./plan-edits.ts";

export interface GuestResult {
	readonly exitCode: number;
	readonly output: string;
}

export interface GuestOptions {
	readonly user?: string;
	readonly cwd?: string;
	/** Default 20 s. */
	readonly timeoutMs?: number;
}

export interface PlanSandbox {
	/** Of its agent. */
	readonly hostPid: number;
	readonly agent: AgentConnection;
	/** On the connection to the agent, so far. */
	bytesReceived(): number;
	/** Runs a program to its end; stdout and stderr in one text. */
	exec(argv: readonly string[], options?: GuestOptions): Promise<GuestResult>;
	/** Starts a program that is left running. */
	start(argv: readonly string[], options?: GuestOptions): Promise<void>;
	close(): Promise<void>;
}

export interface PlanSandboxOptions {
	/** Changes the plan before it runs: this is where a protection is switched off. */
	readonly editPlan?: PlanEdit;
	readonly input?: Partial<LaunchPlanInput>;
	/** Applied by cgroups; without them there are none. */
	readonly limits?: SandboxLimits;
	/** Of each program, RLIMIT_NOFILE; default 1000. */
	readonly openFiles?: number;
	/** Sandboxes that live at the same time have different ones. */
	readonly slot?: number;
}

const LAYERS = ["000-base-debian", "100-python3"];
const ID_BASE = 0x7100_0000;
const ID_RANGE = 65_536;

export async function startPlanSandbox(options: PlanSandboxOptions = {}): Promise<PlanSandbox> {
	const { editPlan = (plan) => plan, input, slot = 0, openFiles = 1000 } = options;
	const folder = mkdtempSync(join(tmpdir(), "shale-plan-"));
	mkdirSync(join(folder, "jailer"));
	const { jailer: jailerPath, agent: agentPath } = findNativePrograms();
	const jailer = await Jailer.start({ jailerPath, agentPath, runDir: join(folder, "jailer") });
	const socketHostPath = join(folder, "agent.sock");
	try {
		await jailer.run(LAYERS.map((name) => op.layerMount(name, layerHostPath(name))));
		const { cgroups, remove } = await prepareLimits(basename(folder), options.limits);
		const plan = compileLaunchPlan({
			hostname: "escape",
			mountIds: LAYERS,
			socketHostPath,
			upper: { kind: "tmpfs", bytes: 64 * 1024 * 1024 },
			hostIdBase: (await findIdMapping()).ok ? ID_BASE + slot * ID_RANGE : undefined,
			cgroups,
			seccompFilter: compileSeccomp(DEFAULT_PROFILE),
			...input,
		});
		const { hostPid } = await jailer.run(editPlan(plan));
		const exited = new Promise<JailerExit>((resolve) => jailer.onExit(hostPid, resolve));
		const stream = connect(socketHostPath);
		await once(stream, "connect");
		const agent = AgentConnection.open(stream);
		return {
			hostPid,
			agent,
			bytesReceived: () => stream.bytesRead,
			exec: (argv, guest) => exec(agent, { ...toSpec(argv, openFiles), ...guest }),
			async start(argv, guest) {
				await agent.start({ ...toSpec(argv, openFiles), timeoutMs: 0, ...guest, attach: false });
			},
			async close() {
				// Without a pid namespace they would outlive their agent.
				await killPrograms(agent).catch(() => undefined);
				agent.close();
				await jailer.kill(hostPid, 9);
				await exited;
				await jailer.run(remove);
				await jailer.close();
				rmSync(folder, { recursive: true });
			},
		};
	} catch (error) {
		await jailer.close();
		rmSync(folder, { recursive: true });
		throw error;
	}
}

async function killPrograms(agent: AgentConnection): Promise<void> {
	for (const { id, state } of await agent.list()) {
		if (state === "running") await agent.signal(id, constants.signals.SIGKILL, "group");
	}
}

interface PreparedLimits {
	readonly cgroups: LaunchPlanInput["cgroups"];
	/** Takes away what they left, once the sandbox is dead. */
	readonly remove: readonly Op[];
}

async function prepareLimits(name: string, limits: SandboxLimits | undefined): Promise<PreparedLimits> {
	if (!limits) return { cgroups: { before: [], unified: undefined, join: [] }, remove: [] };
	const layout = await prepareCgroups(await detectCgroups({ parent: join("shale", name) }));
	const cgroups = planCreate(layout, "sandbox", limits);
	return { cgroups, remove: [...planRemove(cgroups.paths), ...planRemoveParents(layout)] };
}

const ENV = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" };
const RLIMIT_NOFILE = 7;
let started = 0;

function toSpec(argv: readonly string[], openFiles: number): StartProcess {
	const limits = [{ resource: RLIMIT_NOFILE, soft: openFiles, hard: openFiles }];
	return { id: `attack-${started++}`, argv, env: ENV, timeoutMs: 20_000, limits };
}

async function exec(agent: AgentConnection, spec: StartProcess): Promise<GuestResult> {
	const process = await agent.start(spec);
	const chunks: Buffer[] = [];
	for await (const { data } of process.output()) chunks.push(data);
	const { exitCode } = await process.exited;
	return { exitCode, output: Buffer.concat(chunks).toString("utf8") };
}
