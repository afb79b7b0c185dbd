/** `shale layers`: the read-only layers that sandboxes are stacked from. */
import { openAsBlob } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { Command } from "commander";
import type { Layer, Shale } from "../../../sdk/src/index.ts";
import { ShaleError } from "../../lib/errors.ts";
import { formatBytes } from "../../lib/units.ts";
import { connect } from "../connect.ts";
import { Interrupts } from "../interrupts.ts";
import { addOutputOption, type OutputFlags, verbCommand } from "../options.ts";
import { print, printJson } from "../output.ts";
import { ProgressView } from "../progress.ts";
import { formatAge, formatTable } from "../table.ts";

/** `sha256:` and 12 digits, which tell layers apart; `-o json` has all of them. */
const TABLE_DIGEST_LENGTH = 19;

export function command(): Command {
	return verbCommand("layers", "Lists, builds, imports and removes layers.")
		.usage("ls|build|import|rm [options]")
		.addCommand(lsCommand())
		.addCommand(buildCommand())
		.addCommand(importCommand())
		.addCommand(rmCommand())
		.helpCommand(false);
}

function lsCommand(): Command {
	const verb = verbCommand("layers ls", "Lists layers.").option(
		"--recipes",
		"list what can be built instead",
	);
	return addOutputOption(verb)
		.name("ls")
		.action(async (flags: OutputFlags & { readonly recipes?: true }) => {
			const shale = await connect();
			if (flags.recipes) await printRecipes(shale, flags);
			else await printLayers(shale, flags);
		});
}

function buildCommand(): Command {
	return verbCommand("layers build", "Builds layers by their recipes, in the order given.")
		.name("build")
		.usage("LAYER...")
		.argument("<layer...>", "name of a recipe; shale layers ls --recipes lists them")
		.action(async (names: string[]) => {
			using interrupts = new Interrupts();
			const shale = await connect({ signal: interrupts.signal });
			for (const name of names) {
				await print(toLine(await build(shale, name, interrupts.signal)));
			}
		});
}

function importCommand(): Command {
	return verbCommand("layers import", "Takes a squashfs file as a layer.")
		.name("import")
		.usage("[options] FILE")
		.argument("<file>", "squashfs image")
		.option("--name <name>", "name of the layer; that of the file without .squashfs when left out")
		.action(async (hostPath: string, flags: { readonly name?: string }) => {
			const info = await stat(hostPath).catch((cause: unknown) => {
				throw new ShaleError("invalid_argument", `reading ${hostPath}: ${String(cause)}`, { cause });
			});
			if (!info.isFile()) throw new ShaleError("invalid_argument", `${hostPath} is not a file`);
			using interrupts = new Interrupts();
			const shale = await connect({ signal: interrupts.signal });
			const name = flags.name ?? basename(hostPath).replace(/\.(squashfs|sqfs|sfs)$/, "");
			const image = await openAsBlob(hostPath);
			await print(toLine(await shale.layers.import(name, image, { signal: interrupts.signal })));
		});
}

function rmCommand(): Command {
	return verbCommand("layers rm", "Removes layers that no sandbox uses.")
		.name("rm")
		.usage("LAYER...")
		.argument("<layer...>", "name of a layer")
		.action(async (names: string[]) => {
			const shale = await connect();
			for (const name of names) {
				await shale.layers.remove(name);
				await print(`${name}\n`);
			}
		});
}

async function build(shale: Shale, name: string, signal: AbortSignal): Promise<Layer> {
	const view = new ProgressView(name, { isTerminal: process.stderr.isTTY === true });
	try {
		return await shale.layers.build(name, { signal, onProgress: (progress) => view.show(progress) });
	} finally {
		view.end();
	}
}

async function printLayers(shale: Shale, flags: OutputFlags): Promise<void> {
	const layers = await shale.layers.list();
	if (flags.output === "json") return await printJson({ layers });
	const now = new Date();
	const rows = layers.map((layer) => [
		layer.name,
		formatBytes(layer.sizeBytes),
		formatAge(layer.createdAt, now),
		layer.digest.slice(0, TABLE_DIGEST_LENGTH),
	]);
	await print(formatTable(["LAYER", "SIZE", "AGE", "DIGEST"], rows));
}

async function printRecipes(shale: Shale, flags: OutputFlags): Promise<void> {
	const recipes = await shale.layers.recipes();
	if (flags.output === "json") return await printJson({ recipes });
	const rows = recipes.map(({ name, kind, description }) => [name, kind, description]);
	await print(formatTable(["LAYER", "KIND", "WHAT IT HOLDS"], rows));
}

function toLine({ name, sizeBytes, digest }: Layer): string {
	return `${name} ${formatBytes(sizeBytes)} ${digest}\n`;
}
