/**
 * Attacks on the host from inside a sandbox. Each is run twice: as sandboxes are, where it must fail, and without the
 * protection that stops it, where it must succeed: otherwise the test would prove nothing.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { SYSCALL_NUMBERS } from "../../src/linux/syscalls.ts";
import { type AttackedHost, openAttackedHost } from "./attacked-host.ts";
import { missingLayers } from "./layers.ts";
import {
	type GuestOptions,
	type GuestResult,
	type PlanSandboxOptions,
	startPlanSandbox,
} from "./plan-sandbox.ts";
import { missingRoot } from "./requirements.ts";

export interface Attack {
	/** What the attacker does: "mounts a file system". */
	readonly title: string;
	/** What keeps it out, for the title of the second run. */
	readonly protection: string;
	/** How the sandboxes of the second run are made; `no sandbox` runs the attack on the host as it is. */
	readonly off: PlanSandboxOptions | "no sandbox";
	/** How those of the first run are made, where that is not the ordinary way. */
	readonly on?: PlanSandboxOptions;
	readonly guest?: GuestOptions;
	/** Run as root of the sandbox before. */
	readonly prepare?: readonly string[];
	/** Left running in a second sandbox, made in the same way. */
	readonly neighbour?: readonly string[];
	/** What this machine lacks for the second run, or false. */
	readonly missing?: string | false;
	argv(host: Target): readonly string[];
	/** Whether the attacker got what it wanted. */
	hasSucceeded(result: GuestResult, host: Target): boolean;
}

/** What is there to be attacked. */
export interface Target extends AttackedHost {
	/** Of the agent's process, as the attacker would find it. */
	readonly agentPid: number;
	/** Of the agent of the neighbour's sandbox; 0 without one. */
	readonly neighbourPid: number;
}

export const NO_USER_NAMESPACE = { hostIdBase: undefined } as const;

export const python = (code: string): readonly string[] => ["python3", "-c", code];

const KERNEL_PREAMBLE = `
import ctypes, errno, os, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *args)])
    if result < 0: sys.exit(errno.errorcode[ctypes.get_errno()])
    return result
`;

/** Python in which `call(SYS_name, …)` is that system call; one that fails ends the program. */
export function kernelPython(code: string): readonly string[] {
	const numbered = code.replace(/\bSYS_(\w+)/g, (_, name: string) => {
		const number = SYSCALL_NUMBERS.get(name);
		if (number === undefined) throw new Error(`no system call ${name}`);
		return String(number);
	});
	return python(KERNEL_PREAMBLE + numbered);
}

export const printedOk = ({ output }: GuestResult): boolean => output.trim() === "ok";
export const exitedZero = ({ exitCode }: GuestResult): boolean => exitCode === 0;
export const readTheSecret = ({ output }: GuestResult, { secret }: Target): boolean =>
	output.includes(secret);

export function testAttacks(subject: string, attacks: readonly Attack[]): void {
	const skip = missingRoot() || missingLayers("000-base-debian", "100-python3");
	describe(`an attacker inside a sandbox, on ${subject}`, { skip }, () => {
		let host: AttackedHost;
		before(async () => {
			host = await openAttackedHost();
		});
		after(() => host?.close());

		for (const attack of attacks) {
			it(`${attack.title}: is stopped`, async () => {
				const { succeeded, shown } = await runInSandbox(attack, { host, options: attack.on ?? {} });
				assert.equal(succeeded, false, shown);
			});
			it(`${attack.title}: would succeed without ${attack.protection}`, {
				skip: attack.missing ?? false,
			}, async () => {
				const { off } = attack;
				const { succeeded, shown } =
					off === "no sandbox" ? runOnHost(attack, host) : await runInSandbox(attack, { host, options: off });
				assert.equal(succeeded, true, shown);
			});
		}
	});
}

interface Outcome {
	readonly succeeded: boolean;
	readonly shown: string;
}

function judge(attack: Attack, result: GuestResult, target: Target): Outcome {
	return {
		succeeded: attack.hasSucceeded(result, target),
		shown: `exit ${result.exitCode}: ${result.output}`,
	};
}

function runOnHost(attack: Attack, host: AttackedHost): Outcome {
	const target: Target = { ...host, agentPid: host.agentHostPid, neighbourPid: 0 };
	const [program = "", ...args] = attack.argv(target);
	const { status, stdout, stderr } = spawnSync(program, args, {
		encoding: "utf8",
		stdio: ["ignore", "pipe", "pipe", host.folderFd],
		timeout: 20_000,
		...(attack.guest?.cwd !== undefined && { cwd: attack.guest.cwd }),
	});
	return judge(attack, { exitCode: status ?? -1, output: stdout + stderr }, target);
}

async function runInSandbox(
	attack: Attack,
	{ host, options }: { readonly host: AttackedHost; readonly options: PlanSandboxOptions },
): Promise<Outcome> {
	await using closing = new AsyncDisposableStack();
	const open = async (slot: number) => {
		const sandbox = await startPlanSandbox({ ...options, slot });
		closing.defer(() => sandbox.close());
		return sandbox;
	};
	const sandbox = await open(0);
	const neighbour = attack.neighbour && (await open(1));
	if (attack.neighbour) await neighbour?.start(attack.neighbour);
	const target: Target = { ...host, agentPid: 1, neighbourPid: neighbour?.hostPid ?? 0 };
	if (attack.prepare) assert.equal((await sandbox.exec(attack.prepare)).exitCode, 0);
	return judge(attack, await sandbox.exec(attack.argv(target), attack.guest), target);
}
