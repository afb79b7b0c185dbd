/** Recipes of kind `folder`: a folder of the host becomes a module. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ShaleError } from "../../lib/errors.ts";
import type { FolderRecipe } from "../recipe.ts";
import { runProgram } from "../run-program.ts";
import { makeFolders } from "../tree.ts";
import type { BuildContext, BuiltTree } from "./kind.ts";

export async function buildFolder(
	recipe: FolderRecipe,
	{ work, signal, onProgress }: BuildContext,
): Promise<BuiltTree> {
	if (!(await isFolder(recipe.folder))) {
		throw new ShaleError(
			"invalid_argument",
			`recipe ${recipe.hostPath}: folder: ${recipe.folder} is no folder`,
		);
	}
	onProgress({ step: "copy", message: recipe.folder });
	const tree = join(work, "tree");
	const target = await makeFolders(tree, recipe.to);
	// cp(1), as Node's own copy keeps neither owners nor hard links. Times are left: a fresh checkout has its own.
	const args = ["-a", "--no-preserve=timestamps", "-T", "--", recipe.folder, target];
	await runProgram("cp", args, { signal });
	if (recipe.owner === "root") await runProgram("chown", ["-hR", "0:0", "--", tree], { signal });
	return {
		kind: "tree",
		hostFolder: tree,
		sources: [{ kind: "folder", hostPath: recipe.folder, to: recipe.to }],
		whiteouts: [],
	};
}

async function isFolder(hostPath: string): Promise<boolean> {
	return (await stat(hostPath).catch(() => undefined))?.isDirectory() ?? false;
}
