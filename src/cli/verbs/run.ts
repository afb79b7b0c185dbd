/** `shale run`: a sandbox for one program, taken away when the program has ended. */
import type { Command } from "commander";
import { type Sandbox, type Shale, ShaleApiError } from "../../../sdk/src/index.ts";
import { ShaleError } from "../../lib/errors.ts";
import { newId } from "../../lib/ids.ts";
import { connect } from "../connect.ts";
import { needsSession, runInForeground } from "../foreground.ts";
import { Interrupts } from "../interrupts.ts";
import {
	addProgramOptions,
	addSandboxOptions,
	type ProgramFlags,
	requireProgram,
	type SandboxFlags,
	toCreateSandbox,
	verbCommand,
} from "../options.ts";
import { notice, print } from "../output.ts";
import { terminalSize } from "../terminal.ts";

type RunFlags = SandboxFlags & ProgramFlags & { readonly keep?: true };

/**
 * While the program runs somebody reads its output, so it is not idle. When this verb is killed nobody removes the
 * sandbox: then it removes itself.
 */
const ABANDONED_MS = 300_000;

/** A removal that hangs must not keep the program's exit code from the user. */
const REMOVAL_DEADLINE_MS = 30_000;

export function command(program?: readonly string[]): Command {
	const verb = verbCommand(
		"run",
		"Runs a program in a new sandbox, which is removed when the program has ended.",
	)
		.usage("[options] -- PROGRAM [ARGUMENT...]")
		.argument("[words...]")
		.passThroughOptions(program === undefined)
		.option("--keep", "keep the sandbox when the program has ended")
		.option("--rm", "remove the sandbox when the program has ended (the default)");
	return addSandboxOptions(addProgramOptions(verb)).action(async (words: string[], flags: RunFlags) => {
		const argv = requireProgram(program, words, { prefix: "shale run [options]" });
		process.exitCode = flags.detach ? await runDetached(argv, flags) : await run(argv, flags);
	});
}

async function run(argv: readonly string[], flags: RunFlags): Promise<number> {
	using interrupts = new Interrupts();
	const shale = await connect({ sessions: needsSession(flags), signal: interrupts.signal });
	if (flags.id !== undefined) await refuseExisting(shale, flags.id);
	const sandbox = shale.sandboxes.open(flags.id ?? newId("sb"));
	const idle = flags.keep ? {} : { idleTimeoutMs: flags.idle ?? ABANDONED_MS };
	try {
		await shale.sandboxes.create(
			{ ...toCreateSandbox(flags), ...idle, id: sandbox.id },
			{ signal: interrupts.signal },
		);
	} catch (error) {
		// Whatever became of it: an id that we made up is nobody else's. One that the user chose may well be.
		if (flags.id === undefined) await remove(sandbox, interrupts);
		throw error;
	}
	try {
		return await runInForeground({ sandbox, argv, options: { timeoutMs: flags.timeout }, flags, interrupts });
	} finally {
		if (flags.keep) await notice(`the sandbox ${sandbox.id} is kept; shale rm ${sandbox.id} removes it`);
		else await remove(sandbox, interrupts);
	}
}

/** The same create again would give us the sandbox of an earlier run, and with our end we would remove it. */
async function refuseExisting(shale: Shale, id: string): Promise<void> {
	const exists = await shale.sandboxes.get(id).then(
		() => true,
		(error: unknown) => {
			if (error instanceof ShaleApiError && error.code === "not_found") return false;
			throw error;
		},
	);
	if (!exists) return;
	throw new ShaleError("conflict", `there is a sandbox ${id} already`, {
		hint: `Choose another id, or run the program in that one: shale exec ${id} -- PROGRAM`,
	});
}

/** A sandbox that cannot be removed is told, and does not change the outcome. A signal ends the wait. */
async function remove(sandbox: Sandbox, interrupts: Interrupts): Promise<void> {
	const patience = new AbortController();
	const signal = AbortSignal.any([patience.signal, AbortSignal.timeout(REMOVAL_DEADLINE_MS)]);
	await interrupts.during(
		() => patience.abort(new Error("interrupted")),
		() =>
			sandbox.kill({ signal }).catch(async (error: unknown) => {
				if (error instanceof ShaleApiError && error.code === "not_found") return;
				const why = error instanceof Error ? error.message : String(error);
				await notice(`the sandbox ${sandbox.id} could not be removed: ${why}`);
			}),
	);
}

async function runDetached(argv: readonly string[], flags: RunFlags): Promise<number> {
	const shale = await connect();
	const sandbox = await shale.sandboxes.create(toCreateSandbox(flags));
	try {
		await sandbox.processes.start(argv, {
			timeoutMs: flags.timeout,
			terminal: flags.tty ? terminalSize() : undefined,
		});
	} catch (error) {
		await sandbox.kill();
		throw error;
	}
	await print(`${sandbox.id}\n`);
	return 0;
}
