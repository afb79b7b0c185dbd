/** `shale events`: what happens to sandboxes, a line each, until Ctrl-C. */
import { type Command, Option } from "commander";
import type { EventType, SandboxEvent } from "../../../sdk/src/index.ts";
import { connect } from "../connect.ts";
import { Interrupts } from "../interrupts.ts";
import { addOutputOption, type OutputFlags, verbCommand } from "../options.ts";
import { print } from "../output.ts";
import { toPrintable } from "../table.ts";

interface EventsFlags extends OutputFlags {
	readonly sandbox?: string;
	readonly type?: EventType[];
	readonly after?: string;
}

const TYPES: Readonly<Record<EventType, true>> = {
	"sandbox.created": true,
	"sandbox.running": true,
	"sandbox.stopped": true,
	"sandbox.failed": true,
	"sandbox.destroyed": true,
	"sandbox.expired": true,
	"sandbox.extended": true,
	"sandbox.adopted": true,
	"host.leak": true,
};

export function command(): Command {
	const verb = verbCommand("events", "Shows what happens from now on, until Ctrl-C.")
		.option("--sandbox <id>", "only of this sandbox")
		.addOption(new Option("--type <type...>", "only of these types").choices(Object.keys(TYPES)))
		.option("--after <event>", "go on after the event of this id");
	return addOutputOption(verb).action(async ({ sandbox, type, after, output }: EventsFlags) => {
		using interrupts = new Interrupts();
		const { signal } = interrupts;
		const shale = await connect({ signal });
		const events = await shale.events({ sandbox, types: type, after, signal });
		for await (const event of events) {
			await print(output === "json" ? `${JSON.stringify(event)}\n` : toLine(event));
		}
	});
}

function toLine({ at, type, sandboxId = "-", ...facts }: SandboxEvent): string {
	const { reason, expiresAt, resource } = facts;
	const words = [
		at,
		type.padEnd(17),
		sandboxId,
		...(reason === undefined ? [] : [reason]),
		...(expiresAt === undefined ? [] : [`until ${expiresAt ?? "it is destroyed"}`]),
		...(resource === undefined ? [] : [resource.kind, resource.name]),
	];
	return `${toPrintable(words.join("  ")).trimEnd()}\n`;
}
