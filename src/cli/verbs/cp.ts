/** `shale cp`: files and directories in and out of sandboxes. */
import type { Command } from "commander";
import type { Shale } from "../../../sdk/src/index.ts";
import { ShaleError } from "../../lib/errors.ts";
import { formatBytes } from "../../lib/units.ts";
import { connect, withSandbox } from "../connect.ts";
import { copy } from "../copy/copy.ts";
import type { Bytes, CopySource, CopyTarget } from "../copy/ends.ts";
import { HostEnd } from "../copy/host-end.ts";
import { PipeEnd } from "../copy/pipe-end.ts";
import { type Place, parsePlace } from "../copy/place.ts";
import { SandboxEnd } from "../copy/sandbox-end.ts";
import { Interrupts } from "../interrupts.ts";
import { verbCommand } from "../options.ts";
import { notice } from "../output.ts";
import { ProgressView } from "../progress.ts";
import { toPrintable } from "../table.ts";

interface CpFlags {
	readonly user?: string;
	readonly keepSetuid?: true;
}

/** Copies that are over before show nothing. */
const PROGRESS_AFTER_MS = 1000;
const PROGRESS_EVERY_MS = 100;

const MAX_TOLD = 10;

export function command(): Command {
	return verbCommand("cp", "Copies files and directories in and out of sandboxes, and between them.")
		.usage("[options] SRC DST")
		.argument("<src>", "SANDBOX:/path, a path here, or - for stdin")
		.argument("<dst>", "SANDBOX:/path, a path here, or - for stdout")
		.option("-u, --user <user>", "whose rights count in the sandbox: uid[:gid] or a name")
		.option("--keep-setuid", "keep setuid, setgid and sticky bits of what is copied here")
		.action(cp);
}

async function cp(src: string, dst: string, flags: CpFlags): Promise<void> {
	const [from, to] = [parsePlace(src), parsePlace(dst)];
	if (from.kind !== "sandbox" && to.kind !== "sandbox") {
		throw new ShaleError("invalid_argument", "neither SRC nor DST is in a sandbox", {
			hint: "A path in a sandbox is written SANDBOX:/path.",
		});
	}
	using interrupts = new Interrupts();
	const { signal } = interrupts;
	const shale = await connect({ signal });
	const skipped = new Skipped();
	const open = (place: Place) =>
		openEnd(shale, place, { signal, flags, onSkip: (name) => skipped.add(name) });
	const view = new ProgressView(toPrintable(src), { isTerminal: true });
	try {
		await copy(await open(from), await open(to), { watch: (data, total) => showProgress(view, data, total) });
	} finally {
		if (process.stderr.isTTY) view.end();
	}
	await skipped.tell();
}

/** What was left out; a sandbox may have more of it than anybody wants to read. */
class Skipped {
	readonly #names: string[] = [];
	#more = 0;

	add(name: string): void {
		if (this.#names.length < MAX_TOLD) this.#names.push(name);
		else this.#more++;
	}

	async tell(): Promise<void> {
		for (const name of this.#names)
			await notice(`left out ${toPrintable(name)}: no file, directory or symlink`);
		if (this.#more > 0) await notice(`left out ${this.#more} more`);
	}
}

async function openEnd(
	shale: Shale,
	place: Place,
	options: { readonly signal: AbortSignal; readonly flags: CpFlags; readonly onSkip: (name: string) => void },
): Promise<CopySource & CopyTarget> {
	const { signal, flags, onSkip } = options;
	if (place.kind === "pipe") return new PipeEnd();
	if (place.kind === "host")
		return new HostEnd(place.path, { keepSetuid: flags.keepSetuid === true, onSkip });
	// Asked for first: later, "not found" may be said of a file too.
	const sandbox = await withSandbox(shale, place.idOrName, async (found) => {
		await found.info({ signal });
		return found;
	});
	return new SandboxEnd(sandbox.files, place.path, { user: flags.user, signal });
}

/** On a terminal, for what takes long. */
async function* showProgress(
	view: ProgressView,
	data: Bytes,
	totalBytes: number | undefined,
): AsyncGenerator<Uint8Array> {
	let copiedBytes = 0;
	let showAt = Date.now() + PROGRESS_AFTER_MS;
	for await (const chunk of data) {
		yield chunk;
		copiedBytes += chunk.length;
		if (!process.stderr.isTTY || Date.now() < showAt) continue;
		showAt = Date.now() + PROGRESS_EVERY_MS;
		const percent = totalBytes ? (copiedBytes / totalBytes) * 100 : undefined;
		view.show({ step: formatBytes(copiedBytes), percent });
	}
}
