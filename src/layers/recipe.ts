/**
 * Recipes: declarative TOML files that say what a layer is made from. The layer's name is the file's name, so
 * `recipes/100-python3.toml` makes the layer `100-python3`.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { parse as parseToml, TomlError } from "smol-toml";
import { z } from "zod";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import { LAYER_NAME_PATTERN, parseLayerName, toLayerKind } from "./stack.ts";

const description = z.string().max(1000).optional();

/** Debian policy §5.6.1; the suite is a folder of the archive. */
const debianPackage = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, "is no Debian package name");
const suite = z.string().regex(/^[a-z][a-z0-9-]*$/, "is no Debian suite");

const guestPath = z
	.string()
	.startsWith("/")
	.refine((path) => !path.includes("\0") && !path.split("/").includes(".."), "may not contain `..`");

const packagePath = z
	.string()
	.min(1)
	.refine((path) => !path.startsWith("/") && !path.split("/").includes(".."), "is a path inside the package");

const exactVersion = z.string().regex(/^\d+\.\d+\.\d+[0-9A-Za-z.+-]*$/, "is an exact version such as 1.2.3");

const debianBaseSchema = z.strictObject({
	kind: z.literal("debian-base"),
	description,
	suite,
	variant: z.enum(["essential", "apt", "minbase", "important", "standard"]).default("minbase"),
	packages: z.array(debianPackage).default([]),
});

const debianPackagesSchema = z.strictObject({
	kind: z.literal("debian-packages"),
	description,
	/** The recipe, of kind debian-base, that these packages are put on; the layer must be in the store. */
	base: z.string().regex(LAYER_NAME_PATTERN, "is no layer name"),
	packages: z.array(debianPackage).min(1),
});

const npmSchema = z.strictObject({
	kind: z.literal("npm"),
	description,
	packages: z
		.array(
			z.strictObject({
				name: z
					.string()
					.regex(/^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/, "is no npm package name"),
				version: exactVersion,
				/** As the registry gives it: Subresource Integrity of the tarball. */
				integrity: z.string().regex(/^sha512-[A-Za-z0-9+/]{86}==$/, "is no sha512 integrity"),
				/** What of the package goes where; `.` is the whole package. */
				files: z.array(z.strictObject({ from: packagePath, to: guestPath })).min(1),
			}),
		)
		.min(1),
	links: z.array(z.strictObject({ path: guestPath, target: z.string().min(1) })).default([]),
});

const folderSchema = z.strictObject({
	kind: z.literal("folder"),
	description,
	/** On the host; a relative path starts at the recipe. */
	folder: z.string().min(1),
	to: guestPath.default("/"),
	/** `root`: all files become root's, whoever checked them out. `keep`: owners as on the host. */
	owner: z.enum(["root", "keep"]).default("root"),
});

const urlSchema = z.strictObject({
	kind: z.literal("url"),
	description,
	url: z.url({ protocol: /^(https?|file)$/ }),
	sha256: z.string().regex(/^[0-9a-f]{64}$/, "is 64 lower-case hex digits"),
	/** A tar may be compressed in any way that tar(1) knows. A squashfs image is taken as it is. */
	format: z.enum(["tar", "squashfs"]),
	/** For a tar: where its content goes, and how many leading folders are cut from its names. */
	to: guestPath.default("/"),
	strip: z.int().min(0).max(20).default(0),
});

const recipeSchema = z.discriminatedUnion("kind", [
	debianBaseSchema,
	debianPackagesSchema,
	npmSchema,
	folderSchema,
	urlSchema,
]);

/** What a recipe file says, and where it is from. */
interface RecipeFile {
	/** The name of the layer that it makes. */
	readonly name: string;
	readonly hostPath: string;
	/** SHA-256 of its text, in hex. */
	readonly sha256: string;
}

export type DebianBaseRecipe = RecipeFile & z.infer<typeof debianBaseSchema>;
export type DebianPackagesRecipe = RecipeFile & z.infer<typeof debianPackagesSchema> & BaseOfRecipe;
export type NpmRecipe = RecipeFile & z.infer<typeof npmSchema>;
export type FolderRecipe = RecipeFile & z.infer<typeof folderSchema>;
export type UrlRecipe = RecipeFile & z.infer<typeof urlSchema>;
export type Recipe = DebianBaseRecipe | DebianPackagesRecipe | NpmRecipe | FolderRecipe | UrlRecipe;

interface BaseOfRecipe {
	readonly baseRecipe: DebianBaseRecipe;
}

/**
 * Reads the recipe of a layer from the first of these folders that has one. Throws `not_found`, or
 * `invalid_argument` naming file and field.
 */
export async function getRecipe(name: string, hostFolders: readonly string[]): Promise<Recipe> {
	parseLayerName(name);
	for (const hostFolder of hostFolders) {
		const recipe = await findRecipe(join(hostFolder, `${name}.toml`));
		if (recipe) return recipe;
	}
	throw new ShaleError("not_found", `there is no recipe ${name}.toml in ${hostFolders.join(" or ")}`, {
		hint: `Recipes there are: ${(await listRecipes(hostFolders)).join(", ") || "none"}.`,
		details: { layer: name },
	});
}

/** The names of the layers that recipes in these folders make, in order. */
export async function listRecipes(hostFolders: readonly string[]): Promise<string[]> {
	const names = new Set<string>();
	for (const hostFolder of hostFolders) {
		for (const file of await readFolder(hostFolder)) {
			const name = basename(file, ".toml");
			if (file.endsWith(".toml") && LAYER_NAME_PATTERN.test(name)) names.add(name);
		}
	}
	return [...names].sort();
}

async function readFolder(hostFolder: string): Promise<string[]> {
	try {
		return await readdir(hostFolder);
	} catch (error) {
		if (errnoCode(error) === "ENOENT") return [];
		throw error;
	}
}

/** Reads one recipe file, with the recipe of its base when it needs one. Throws as {@link getRecipe}. */
export async function readRecipe(hostPath: string): Promise<Recipe> {
	const recipe = await findRecipe(hostPath);
	if (recipe) return recipe;
	throw new ShaleError("not_found", `there is no recipe ${hostPath}`);
}

async function findRecipe(hostPath: string): Promise<Recipe | undefined> {
	let text: string;
	try {
		text = await readFile(hostPath, "utf8");
	} catch (error) {
		if (errnoCode(error) === "ENOENT") return undefined;
		throw error;
	}
	const parsed = parseRecipe(text, hostPath);
	if (parsed.kind !== "debian-packages") return parsed;
	const baseRecipe = await findRecipe(join(dirname(hostPath), `${parsed.base}.toml`));
	if (baseRecipe?.kind === "debian-base") return { ...parsed, baseRecipe };
	const problem = baseRecipe
		? `is of kind ${baseRecipe.kind}, not debian-base`
		: "has no recipe beside this one";
	throw wrongRecipe(hostPath, `base: ${parsed.base} ${problem}`);
}

type ParsedRecipe = Exclude<Recipe, DebianPackagesRecipe> | Omit<DebianPackagesRecipe, "baseRecipe">;

/** Checks a recipe's text; `hostPath` gives the layer's name and is what errors and relative paths refer to. */
export function parseRecipe(text: string, hostPath: string): ParsedRecipe {
	const name = parseLayerName(basename(hostPath, ".toml"), `recipe ${hostPath}`);
	const result = recipeSchema.safeParse(readToml(text, hostPath), { reportInput: false });
	if (!result.success) throw wrongRecipe(hostPath, result.error.issues.map(formatIssue).join("; "));
	const fields = result.data;
	if (
		(fields.kind === "debian-base") !== (toLayerKind(name) === "base") &&
		fields.kind.startsWith("debian")
	) {
		throw wrongRecipe(hostPath, `kind: ${fields.kind} does not suit the number of ${name}`);
	}
	const sha256 = createHash("sha256").update(text).digest("hex");
	const recipe = { name, hostPath, sha256 };
	if (fields.kind !== "folder") return { ...recipe, ...fields };
	return { ...recipe, ...fields, folder: resolve(dirname(hostPath), fields.folder) };
}

function readToml(text: string, hostPath: string): unknown {
	try {
		return parseToml(text);
	} catch (error) {
		if (!(error instanceof TomlError)) throw error;
		throw wrongRecipe(
			hostPath,
			`line ${error.line}, column ${error.column}: ${error.message.split("\n")[0]}`,
		);
	}
}

function formatIssue({
	path,
	message,
}: {
	readonly path: readonly PropertyKey[];
	readonly message: string;
}): string {
	return path.length === 0 ? message : `${path.join(".")}: ${message}`;
}

function wrongRecipe(hostPath: string, problem: string): ShaleError {
	return new ShaleError("invalid_argument", `recipe ${hostPath}: ${problem}`, { details: { hostPath } });
}
