/** The host's view of a sandbox, for tests that harm it. */
import { readdirSync, readFileSync } from "node:fs";

/** Host pid of the agent of a sandbox, whose id nobody else on this machine must have. */
export function findAgent(sandboxId: string): number {
	const found = readdirSync("/proc")
		.filter((name) => /^\d+$/.test(name))
		.find((pid) => isAgent(pid, sandboxId));
	if (found === undefined) throw new Error(`no agent of sandbox ${sandboxId} lives`);
	return Number(found);
}

/** PID 1 of a pid namespace, in the sandbox's cgroup. */
function isAgent(pid: string, sandboxId: string): boolean {
	try {
		const isIn = readFileSync(`/proc/${pid}/cgroup`, "utf8")
			.split("\n")
			.some((line) => line.endsWith(`/${sandboxId}`));
		return isIn && /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
	} catch {
		// It has ended since it was listed.
		return false;
	}
}
