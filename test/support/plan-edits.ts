/** Changes to a sandbox's plan that take a protection away, for tests that show what it is good for. */
import { readFileSync } from "node:fs";
import { fromMask, toCapabilityMasks } from "../../src/linux/capabilities.ts";
import { type MountFlag, type OpName, op, type Plan } from "../../src/linux/plan.ts";

export type PlanEdit = (plan: Plan) => Plan;

/** The plan without these operations. */
export function without(...names: OpName[]): PlanEdit {
	return (plan) => plan.filter(([name]) => !names.includes(name));
}

/** All capabilities that this machine has, and no seccomp filter: what remains are the namespaces. */
export const unconfined: PlanEdit = (plan) => {
	const bounding = /^CapBnd:\s+([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
	const masks = toCapabilityMasks(fromMask(BigInt(`0x${bounding}`)));
	return without("seccomp")(plan).map((step) => (step[0] === "capabilities" ? op.capabilities(masks) : step));
};

type SharedNamespace = "pid" | "net" | "ipc" | "cgroup";

/** Steps that need a namespace of the sandbox's own: operations by name, mounts by their target. */
const STEPS: Readonly<Record<SharedNamespace, readonly string[]>> = {
	pid: [],
	net: ["/sys", "netlink"],
	ipc: ["/dev/mqueue"],
	cgroup: [],
};

/** The plan without some namespaces: the sandbox uses the host's. */
export function sharing(...namespaces: SharedNamespace[]): PlanEdit {
	const dropped = namespaces.flatMap((namespace) => STEPS[namespace]);
	const isShared = (word: unknown) => namespaces.some((namespace) => namespace === word);
	return (plan) =>
		plan
			.filter((step) => !dropped.includes(String(step[0] === "mount" ? step[2] : step[0])))
			.map((step) =>
				step[0] === "clone" ? ["clone", ...step.slice(1).filter((word) => !isShared(word))] : step,
			);
}

/** The root file system mounted with these flags instead of `nosuid` and `nodev`. */
export function rootWith(...flags: MountFlag[]): PlanEdit {
	return (plan) => plan.map((step) => (step[0] === "root_end" ? op.rootEnd(flags) : step));
}

/** What is mounted at `guestPath` with these flags and options instead of its own. */
export function mountedWith(guestPath: string, flags: readonly MountFlag[], options = ""): PlanEdit {
	return (plan) =>
		plan.map((step) => {
			if (step[0] !== "mount" || step[2] !== guestPath) return step;
			const [name, filesystem] = step;
			return [
				name,
				filesystem,
				guestPath,
				flags.join(","),
				...(options === "" ? [] : [options]),
			] as typeof step;
		});
}

/** One edit after the other. */
export function all(...edits: PlanEdit[]): PlanEdit {
	return (plan) => edits.reduce((edited, edit) => edit(edited), plan);
}
