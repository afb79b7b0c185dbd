/**
 * The host's own apt configuration, as far as it concerns one Debian suite: a build fetches packages from where
 * the host fetches its own, checked by the host's keys.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { errnoCode } from "../../lib/errors.ts";

/** The text of a file of sources.list.d, in the style that the extension says. */
export interface AptSources {
	readonly extension: "list" | "sources";
	readonly text: string;
}

/**
 * The source lists for `suite` with its updates and security suites, component `main` only, made from the
 * lists in `aptFolder` (sources.list(5), both styles). Third-party archives drop out, as theirs is no `main` of
 * these suites. Empty when the host has none.
 */
export async function readAptSources(suite: string, aptFolder = "/etc/apt"): Promise<AptSources[]> {
	const suites = new Set([suite, `${suite}-updates`, `${suite}-security`]);
	const parts = join(aptFolder, "sources.list.d");
	const files = [join(aptFolder, "sources.list"), ...(await listFiles(parts))];
	const sources: AptSources[] = [];
	for (const file of files) {
		const text = await readText(file);
		if (file.endsWith(".list")) sources.push({ extension: "list", text: filterLines(text, suites) });
		if (file.endsWith(".sources")) sources.push({ extension: "sources", text: filterStanzas(text, suites) });
	}
	return sources.filter(({ text }) => text !== "");
}

async function listFiles(folder: string): Promise<string[]> {
	try {
		return (await readdir(folder)).sort().map((name) => join(folder, name));
	} catch (error) {
		if (errnoCode(error) === "ENOENT") return [];
		throw error;
	}
}

async function readText(file: string): Promise<string> {
	try {
		return await readFile(file, "utf8");
	} catch (error) {
		if (errnoCode(error) === "ENOENT") return "";
		throw error;
	}
}

/** One-line style: `deb [options] uri suite component…`. */
function filterLines(text: string, suites: ReadonlySet<string>): string {
	const kept: string[] = [];
	for (const line of text.split("\n")) {
		const match = /^\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line);
		if (!match) continue;
		const [, options = "", uri = "", suite = "", components = ""] = match;
		if (suites.has(suite) && components.split(/\s+/).includes("main"))
			kept.push(`deb ${options}${uri} ${suite} main`);
	}
	return kept.map((line) => `${line}\n`).join("");
}

/** deb822 style: stanzas of `Field: value`, where a line that begins with a space continues the field above. */
function filterStanzas(text: string, suites: ReadonlySet<string>): string {
	const withoutComments = text.replace(/^#.*\n?/gm, "");
	return withoutComments
		.split(/\n(?:[ \t]*\n)+/)
		.map((stanza) => filterStanza(stanza, suites))
		.filter((stanza) => stanza !== undefined)
		.join("\n");
}

function filterStanza(stanza: string, suites: ReadonlySet<string>): string | undefined {
	const fields = stanza
		.trim()
		.split(/\n(?![ \t])/)
		.map((field) => [field.slice(0, field.indexOf(":")).toLowerCase(), field] as const);
	const valuesOf = (name: string) => {
		const field = fields.find(([key]) => key === name)?.[1] ?? "";
		return field
			.slice(field.indexOf(":") + 1)
			.trim()
			.split(/\s+/);
	};
	const kept = valuesOf("suites").filter((name) => suites.has(name));
	const isUsed =
		valuesOf("types").includes("deb") &&
		valuesOf("components").includes("main") &&
		!["no", "false"].includes(valuesOf("enabled")[0]?.toLowerCase() ?? "") &&
		kept.length > 0;
	if (!isUsed) return undefined;
	const others = fields.filter(([key]) => !["types", "suites", "components", "enabled"].includes(key));
	const own = ["Types: deb", `Suites: ${kept.join(" ")}`, "Components: main"];
	return `${[...own, ...others.map(([, field]) => field)].join("\n")}\n`;
}
