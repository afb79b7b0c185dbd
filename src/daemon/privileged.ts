/**
 * What needs root: cgroups, and the start of the jailer, which then has the only privileges. Afterwards the daemon is
 * the user of its configuration, if one is named, and nothing that it does needs more.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ID_RANGE_SIZE } from "../backends/namespace/launch-plan.ts";
import type { CleanupStack } from "../lib/cleanup.ts";
import { ShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import {
	type CgroupLayout,
	detectCgroups,
	parentsOf,
	prepareCgroups,
	removeUnusedParents,
} from "../linux/cgroups.ts";
import type { JailerOwner } from "../linux/jailer.ts";
import { ResidentJailer } from "../linux/resident-jailer.ts";
import { type Config, daemonPaths } from "./config.ts";
import { makeFolders } from "./folders.ts";
import { findNativePrograms } from "./native-programs.ts";
import { becomeServiceUser, findServiceUser, type ServiceUser } from "./service-user.ts";

export interface Privileged {
	readonly jailer: ResidentJailer;
	readonly cgroups: CgroupLayout;
}

/** Ends of user-namespace ids below 2^31: some programs take uids as signed numbers. */
const LAST_ID = 0x7fff_ffff;

/** How many sandboxes have ids of their own. */
export function countSlots({ idsStart }: Pick<Config, "idsStart">): number {
	return Math.floor((LAST_ID - idsStart) / ID_RANGE_SIZE);
}

export async function openPrivileged(
	{ config, log }: { readonly config: Config; readonly log: Log },
	cleanup: CleanupStack,
): Promise<Privileged> {
	const user = config.user === undefined ? undefined : await findServiceUser(config.user);
	if (user !== undefined && process.geteuid?.() !== 0) {
		throw new ShaleError("unsupported", `user ${config.user}: only root can start the jailer and become it`, {
			hint: "Start the daemon as root.",
		});
	}
	await makeFolders(config, user);
	const found = await detectCgroups({ parent: cgroupParent(config.data) });
	const isFirst = ![...parentsOf(found)].some((hostPath) => existsSync(hostPath));
	const cgroups = await prepareCgroups(found);
	const jailer = await startJailer({ config, log, cgroups, user });
	cleanup.add(() => jailer.close());
	// Of a start that fails from here on. Those that were there may be another daemon's.
	if (isFirst) cleanup.add(() => removeUnusedParents((ops) => jailer.run(ops), cgroups));
	if (user !== undefined) await becomeServiceUser(user);
	return { jailer, cgroups };
}

interface JailerNeeds {
	readonly config: Config;
	readonly log: Log;
	readonly cgroups: CgroupLayout;
	readonly user: ServiceUser | undefined;
}

function startJailer({ config, log, cgroups, user }: JailerNeeds): Promise<ResidentJailer> {
	const { jailer: runDir, sockets, uppers } = daemonPaths(config);
	const { jailer: jailerPath, agent: agentPath } = findNativePrograms();
	return ResidentJailer.start({
		jailerPath,
		agentPath,
		runDir,
		allow: [sockets, uppers],
		cgroups: [...parentsOf(cgroups)],
		onDeath: (error) => log.error({ err: error }, "the jailer died"),
		// An ordinary user can start no other one.
		...(user && { owner: toOwner(config, user), restartsPerMinute: 0 }),
	});
}

function toOwner(config: Config, user: ServiceUser): JailerOwner {
	const { layers, uppers } = daemonPaths(config);
	const last = config.idsStart + countSlots(config) * ID_RANGE_SIZE - 1;
	return { ...user, ids: { first: config.idsStart, last }, images: [layers, uppers] };
}

/** Two daemons on one host never touch each other's cgroups: each has a parent named after its data folder. */
function cgroupParent(dataHostPath: string): string {
	return join("shale", createHash("sha256").update(dataHostPath).digest("hex").slice(0, 12));
}
