/**
 * A sandbox made straight from a plan, without a daemon, so that a test can take a protection out of the plan
 * and show that the attack then works.
 */

import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentConnection } from "../../src/agent/connection.ts";
import { compileLaunchPlan, type LaunchPlanInput } from "../../src/backends/namespace/launch-plan.ts";
import { findNativePrograms } from "../../src/daemon/native-programs.ts";
import { Jailer, type JailerExit } from "../../src/linux/jailer.ts";
import { op, type Plan } from "../../src/linux/plan.ts";
import { compileSeccomp } from "../../src/linux/seccomp.ts";
import { DEFAULT_PROFILE } from "../../src/linux/seccomp-default.ts";
import { findIdMapping } from "./id-mapping.ts";
import { layerHostPath } from "./layers.ts";

export interface GuestResult {
	readonly exitCode: number;
	readonly output: string;
}

export interface PlanSandbox {
	readonly hostPid: number;
	/** Runs a program to its end; stdout and stderr in one text. */
	exec(argv: readonly string[], options?: { readonly user?: string }): Promise<GuestResult>;
	close(): Promise<void>;
}

export interface PlanSandboxOptions {
	/** Changes the plan before it runs: this is where a protection is switched off. */
	readonly editPlan?: (plan: Plan) => Plan;
	readonly input?: Partial<LaunchPlanInput>;
}

const LAYERS = ["000-base-debian", "100-python3"];
const ID_BASE = 0x7100_0000;

export async function startPlanSandbox({
	editPlan = (plan) => plan,
	input,
}: PlanSandboxOptions = {}): Promise<PlanSandbox> {
	const folder = mkdtempSync(join(tmpdir(), "shale-plan-"));
	mkdirSync(join(folder, "jailer"));
	const { jailer: jailerPath, agent: agentPath } = findNativePrograms();
	const jailer = await Jailer.start({ jailerPath, agentPath, runDir: join(folder, "jailer") });
	const socketHostPath = join(folder, "agent.sock");
	try {
		await jailer.run(LAYERS.map((name) => op.layerMount(name, layerHostPath(name))));
		const plan = compileLaunchPlan({
			hostname: "escape",
			mountIds: LAYERS,
			socketHostPath,
			upper: { kind: "tmpfs", bytes: 64 * 1024 * 1024 },
			hostIdBase: (await findIdMapping()).ok ? ID_BASE : undefined,
			cgroups: { before: [], unified: undefined, join: [] },
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
			exec: (argv, options) => exec(agent, argv, options?.user ?? ""),
			async close() {
				agent.close();
				await jailer.kill(hostPid, 9);
				await exited;
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

const ENV = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" };
let started = 0;

async function exec(agent: AgentConnection, argv: readonly string[], user: string): Promise<GuestResult> {
	const process = await agent.start({
		id: `attack-${started++}`,
		argv,
		env: ENV,
		cwd: "/",
		user,
		timeoutMs: 20_000,
		ringBytes: 1024 * 1024,
		stdin: false,
		attach: true,
	});
	const chunks: Buffer[] = [];
	for await (const { data } of process.output()) chunks.push(data);
	const { exitCode } = await process.exited;
	return { exitCode, output: Buffer.concat(chunks).toString("utf8") };
}

/** The plan without the operations that `drop` picks. */
export function without(...drop: Plan[number][0][]): (plan: Plan) => Plan {
	return (plan) => plan.filter(([name]) => !drop.includes(name));
}
