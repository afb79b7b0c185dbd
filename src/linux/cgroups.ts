/**
 * cgroups of sandboxes, v1, v2 and hybrid: what the host has (cgroup-layout.ts), what a sandbox's limits become
 * (cgroup-plan.ts), what it uses (cgroup-stats.ts), and acting on its processes (cgroup-control.ts).
 */
export {
	findCgroups,
	killAndWait,
	listCgroups,
	listProcesses,
	type RunOps,
	removeUnusedParents,
} from "./cgroup-control.ts";
export { type CgroupLayout, type Controller, detectCgroups, prepareCgroups } from "./cgroup-layout.ts";
export {
	type CgroupPaths,
	type CgroupPlan,
	hierarchiesOf,
	parentsOf,
	planCreate,
	planRemove,
	planRemoveParents,
	type SandboxLimits,
} from "./cgroup-plan.ts";
export { readStats, type SandboxStats } from "./cgroup-stats.ts";
