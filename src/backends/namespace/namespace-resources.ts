/** What there is on the host of the built-in backend's sandboxes, whoever knows of them. Reads only. */
import { readdir, readFile, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { LayerMounts } from "../../layers/mounts.ts";
import { type CgroupLayout, hierarchiesOf, listCgroups, listProcesses } from "../../linux/cgroups.ts";
import { listLoops } from "../../linux/loops.ts";
import type { HostResource } from "../backend.ts";

export interface HostFolders {
	/** Of the agents' sockets. */
	readonly sockets: string;
	/** Of disk uppers. */
	readonly uppers: string;
	/** Of layer images. */
	readonly layers: string;
	/** Of the daemon; nobody else mounts anything below it. */
	readonly run: string;
}

export interface ResourceParts {
	readonly cgroups: CgroupLayout;
	readonly folders: HostFolders;
	readonly mounts: Pick<LayerMounts, "isUsed" | "isMounted">;
}

const SOCKET_ENDING = ".sock";
const IMAGE_ENDING = ".ext4";
const LAYER_ENDING = ".squashfs";

export function socketPath({ sockets }: HostFolders, id: string): string {
	return join(sockets, id + SOCKET_ENDING);
}

export function imagePath({ uppers }: HostFolders, id: string): string {
	return join(uppers, id + IMAGE_ENDING);
}

/** Ids of which there is a socket. */
export function listSockets({ sockets }: HostFolders): Promise<string[]> {
	return listNames(sockets, SOCKET_ENDING);
}

/** Ids of which there is a disk upper. */
export function listImages({ uppers }: HostFolders): Promise<string[]> {
	return listNames(uppers, IMAGE_ENDING);
}

export async function listNamespaceResources(parts: ResourceParts): Promise<HostResource[]> {
	const { folders } = parts;
	const sockets = (await listSockets(folders)).map((id) => resource("socket", socketPath(folders, id), id));
	const images = (await listImages(folders)).map((id) => resource("file", imagePath(folders, id), id));
	return [
		...(await findInCgroups(parts.cgroups)),
		...sockets,
		...images,
		...(await findLoops(parts)),
		...(await findMounts(folders)),
	];
}

function resource(kind: HostResource["kind"], name: string, sandboxId?: string): HostResource {
	return { kind, name, sandboxId };
}

async function listNames(folder: string, ending: string): Promise<string[]> {
	const files = await readdir(folder);
	return files.filter((file) => file.endsWith(ending)).map((file) => basename(file, ending));
}

async function findInCgroups(layout: CgroupLayout): Promise<HostResource[]> {
	const found: HostResource[] = [];
	for (const paths of await listCgroups(layout)) {
		for (const hostPath of hierarchiesOf(paths)) found.push(resource("cgroup", hostPath, paths.name));
		for (const hostPid of await listProcesses(paths)) {
			found.push(resource("process", `${hostPid} ${await readCommand(hostPid)}`, paths.name));
		}
	}
	return found;
}

/** As the process calls itself; empty when it is gone. */
async function readCommand(hostPid: number): Promise<string> {
	return readFile(`/proc/${hostPid}/comm`, "utf8").then(
		(command) => command.trimEnd(),
		() => "",
	);
}

/** Those of uppers, and those of layers that nobody needs: a layer in use belongs to no sandbox alone. */
async function findLoops({ folders, mounts }: ResourceParts): Promise<HostResource[]> {
	const found: HostResource[] = [];
	// As the kernel names them.
	const [uppers, layers] = await Promise.all([realpath(folders.uppers), realpath(folders.layers)]);
	for (const { device, backingHostPath } of await listLoops()) {
		const folder = dirname(backingHostPath);
		const name = `${device} ${backingHostPath}`;
		if (folder === uppers) {
			found.push(resource("loop", name, basename(backingHostPath, IMAGE_ENDING)));
		} else if (folder === layers) {
			const layer = basename(backingHostPath, LAYER_ENDING);
			if (!mounts.isUsed(layer) && !mounts.isMounted(layer)) found.push(resource("loop", name));
		}
	}
	return found;
}

/** None is ever made in the host's mount namespace, so each one is a leak. */
async function findMounts({ run }: HostFolders): Promise<HostResource[]> {
	const mountinfo = await readFile("/proc/self/mountinfo", "utf8");
	const targets = mountinfo.split("\n").map((line) => line.split(" ")[4] ?? "");
	return targets.filter((target) => target.startsWith(`${run}/`)).map((target) => resource("mount", target));
}
