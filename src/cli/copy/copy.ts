/** What a copy comes to, whatever its ends are: the rules of cp(1) for where it goes. */
import { posix } from "node:path";
import { ShaleError } from "../../lib/errors.ts";
import type { Bytes, CopySource, CopyTarget, Node } from "./ends.ts";

export interface CopyOptions {
	/** Sees all that is copied; `totalBytes` is undefined where it is not known before. */
	readonly watch: (data: Bytes, totalBytes: number | undefined) => Bytes;
}

/** @throws ShaleError, and what the ends throw. */
export async function copy(source: CopySource, target: CopyTarget, { watch }: CopyOptions): Promise<void> {
	const node = await source.get();
	const path = await resolveTarget(source, node, target);
	if (node.type === "file") {
		await target.writeFile(path, node, watch(await source.readFile(), node.sizeBytes));
	} else {
		await target.writeDirectory(path, node, watch(await source.readDirectory(), undefined));
	}
}

/**
 * Into a directory that is there, under the source's name; otherwise to the target's own name, whose directory must be
 * there.
 */
async function resolveTarget(source: CopySource, node: Node, target: CopyTarget): Promise<string> {
	const { path } = target;
	const there = await target.find(path);
	if (!there) return await resolveNewName(node, target);
	const isContents = node.type === "directory" && source.name === "";
	if (there.type !== "directory" || isContents) {
		requireSameType(node, there, path);
		return path;
	}
	if (source.name === "") {
		throw new ShaleError("conflict", `${path} is a directory`, {
			hint: "Name the file that it becomes there.",
		});
	}
	const inside = posix.join(path, source.name);
	const old = await target.find(inside);
	if (old) requireSameType(node, old, inside);
	return inside;
}

async function resolveNewName(node: Node, target: CopyTarget): Promise<string> {
	const { path } = target;
	if (node.type === "file" && path.endsWith("/")) {
		throw new ShaleError("not_found", `there is no directory ${path}`);
	}
	const parent = posix.dirname(path);
	const above = await target.find(parent);
	if (above?.type === "directory") return path.replace(/(.)\/+$/, "$1");
	throw new ShaleError(above ? "conflict" : "not_found", `there is no directory ${parent} to copy into`);
}

function requireSameType(node: Node, there: Node, path: string): void {
	if (node.type === there.type) return;
	throw new ShaleError(
		"conflict",
		there.type === "directory"
			? `${path} is a directory, which no file replaces`
			: `${path} is no directory, so none can be copied to it`,
	);
}
