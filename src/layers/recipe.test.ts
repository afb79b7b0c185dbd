import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ShaleError } from "../lib/errors.ts";
import { getRecipe, listRecipes, parseRecipe } from "./recipe.ts";

const SHIPPED = join(import.meta.dirname, "../../recipes");

function refusal(text: string, file = "/r/100-x.toml"): string {
	try {
		parseRecipe(text, file);
	} catch (error) {
		assert.ok(error instanceof ShaleError);
		assert.equal(error.code, "invalid_argument");
		return error.message;
	}
	throw new assert.AssertionError({ message: `accepted: ${text}` });
}

test("every shipped recipe can be read", async () => {
	const names = await listRecipes([SHIPPED, "/nonexistent"]);
	assert.deepEqual(names, ["000-base-debian", "100-bun", "100-deno", "100-nodejs24", "100-python3"]);
	for (const name of names) {
		const recipe = await getRecipe(name, [SHIPPED]);
		assert.equal(recipe.name, name);
		assert.ok(recipe.description);
	}
});

test("the name of a layer is the name of its file, and a relative folder starts at the recipe", () => {
	const recipe = parseRecipe('kind = "folder"\nfolder = "../files"', "/r/recipes/200-mine.toml");
	assert.equal(recipe.name, "200-mine");
	assert.equal(recipe.kind === "folder" && recipe.folder, "/r/files");
});

test("an error names the file and the field", () => {
	assert.match(refusal('kind = "folder"\nfolder = "x"\nmode = 1'), /^recipe \/r\/100-x\.toml: .*mode/);
	assert.match(refusal('kind = "folder"'), /100-x\.toml: folder: /);
	assert.match(refusal("kind = "), /100-x\.toml: line 1, column 8/);
	assert.match(refusal('kind = "docker"'), /kind/);
	assert.match(
		refusal('kind = "url"\nurl = "ftp://h/x"\nsha256 = "00"\nformat = "tar"'),
		/url: .*sha256: is 64/,
	);
	assert.match(refusal('kind = "folder"\nfolder = "x"', "/r/nodejs.toml"), /is not a layer name/);
});

test("paths that leave the layer, versions that float and options in package names are refused", () => {
	assert.match(refusal('kind = "folder"\nfolder = "x"\nto = "/a/../../b"'), /to: may not contain/);
	assert.match(refusal('kind = "folder"\nfolder = "x"\nto = "a"'), /to: /);
	assert.match(
		refusal('kind = "debian-packages"\nbase = "000-b"\npackages = ["-o=x"]'),
		/packages\.0: is no Debian/,
	);
	const npm = (fields: string) => `kind = "npm"\n[[packages]]\nname = "node"\nversion = "1.2.3"\n${fields}`;
	assert.match(
		refusal(npm('version = "^1"').replace('version = "1.2.3"\n', "")),
		/packages\.0\.version: is an exact/,
	);
	assert.match(refusal(npm('files = [{ from = "../x", to = "/x" }]')), /packages\.0\.files\.0\.from/);
	assert.match(refusal(npm('integrity = "sha1-x"')), /packages\.0\.integrity/);
});

test("a Debian system is a base, and Debian packages are not", () => {
	assert.match(refusal('kind = "debian-base"\nsuite = "bookworm"'), /kind: debian-base does not suit/);
	const packages = 'kind = "debian-packages"\nbase = "000-b"\npackages = ["python3"]';
	assert.match(refusal(packages, "/r/000-x.toml"), /kind: debian-packages does not suit/);
});

test("a packages recipe whose base has no recipe, or one of another kind, is refused", async (context) => {
	const folder = await mkdtemp(join(tmpdir(), "shale-recipes-"));
	context.after(() => rm(folder, { recursive: true }));
	await writeFile(
		join(folder, "100-x.toml"),
		'kind = "debian-packages"\nbase = "000-b"\npackages = ["python3"]',
	);
	await assert.rejects(getRecipe("100-x", [folder]), /base: 000-b has no recipe beside this one/);
	await writeFile(join(folder, "000-b.toml"), 'kind = "folder"\nfolder = "x"');
	await assert.rejects(getRecipe("100-x", [folder]), /base: 000-b is of kind folder/);
	await assert.rejects(getRecipe("100-y", [folder]), {
		code: "not_found",
		hint: "Recipes there are: 000-b, 100-x.",
	});
});
