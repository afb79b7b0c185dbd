/**
 * Unpacks a tar that a sandbox has sent, on this machine.
 *
 * SECURITY: everything in the tar is hostile. Nothing outside of the target is made, changed or followed: names are
 * relative and without `..`; a symlink is never gone through, whoever made it; a file that is there is replaced under
 * its name, not written to. Devices and fifos are left out, and setuid, setgid and sticky bits too unless they are asked
 * for; everything belongs to the caller.
 */
import { chmod, link, lstat, lutimes, mkdir, symlink, utimes } from "node:fs/promises";
import { join } from "node:path";
import { createTarDecoder, type ParsedTarEntry, type TarHeader } from "modern-tar";
import { errnoCode, ShaleError } from "../../lib/errors.ts";
import { toPrintable } from "../table.ts";
import type { Bytes } from "./ends.ts";
import { onHost } from "./host-errors.ts";
import { placeAtomically, writeHostFile } from "./host-file.ts";

export interface UnpackOptions {
	readonly keepSetuid: boolean;
	/** Told the name in the tar of what was left out. */
	readonly onSkip: (name: string) => void;
}

/** Directories whose mode and time are set when all is in them; those beyond keep what they got. */
const MAX_DIRECTORIES = 100_000;

const NEW_DIRECTORY_MODE = 0o700;

/** Below a directory that is there. What was unpacked before an error stays. */
export async function unpack(hostPath: string, tar: Bytes, options: UnpackOptions): Promise<void> {
	const unpacker = new Unpacker(hostPath, options);
	const entries = ReadableStream.from(tar).pipeThrough(createTarDecoder({ strict: true }));
	try {
		for await (const entry of entries) await unpacker.take(entry);
	} catch (error) {
		throw toArchiveError(error);
	}
	await unpacker.finish();
}

/** The decoder's errors are plain ones; those of the connection and of this machine are not. */
function toArchiveError(error: unknown): unknown {
	if (!(error instanceof Error) || error.constructor !== Error || "code" in error) return error;
	return new ShaleError("unavailable", `the archive from the sandbox is damaged: ${error.message}`, {
		cause: error,
	});
}

class Unpacker {
	readonly #rootHostPath: string;
	readonly #options: UnpackOptions;
	/** Directories that were made, those above before those below. */
	readonly #made: {
		readonly hostPath: string;
		readonly mode: number;
		readonly modifiedAt: Date | undefined;
	}[] = [];
	/** The directory that was looked at last, and is one. */
	#knownHostPath: string;

	constructor(rootHostPath: string, options: UnpackOptions) {
		this.#rootHostPath = rootHostPath;
		this.#options = options;
		this.#knownHostPath = rootHostPath;
	}

	async take({ header, body }: ParsedTarEntry): Promise<void> {
		const parts = toParts(header.name);
		const doing = `unpacking ${toPrintable(header.name)}`;
		// The directory itself is there.
		if (parts.length > 0) await onHost(doing, () => this.#make(parts, header, body));
		// What nobody has read is dropped.
		if (!body.locked) await body.cancel();
	}

	/** A directory's time changes with what is made in it, and its mode may forbid that. */
	async finish(): Promise<void> {
		for (const { hostPath, mode, modifiedAt } of this.#made.reverse()) {
			await onHost(`unpacking ${hostPath}`, async () => {
				await chmod(hostPath, mode);
				if (modifiedAt) await utimes(hostPath, modifiedAt, modifiedAt);
			});
		}
	}

	async #make(parts: readonly string[], header: TarHeader, body: ReadableStream<Uint8Array>): Promise<void> {
		const hostPath = join(this.#rootHostPath, ...parts);
		await this.#enterDirectory(parts.slice(0, -1), { makes: true });
		const attributes = { mode: this.#toMode(header), modifiedAt: toTime(header) };
		switch (header.type ?? "file") {
			case "file":
				await writeHostFile(hostPath, body, attributes);
				break;
			case "directory":
				await this.#makeDirectory(hostPath, attributes);
				break;
			case "symlink":
				await placeAtomically(hostPath, async (freshHostPath) => {
					await symlink(header.linkname ?? "", freshHostPath);
					const { modifiedAt } = attributes;
					if (modifiedAt) await lutimes(freshHostPath, modifiedAt, modifiedAt);
				});
				break;
			case "link":
				await this.#makeLink(hostPath, header);
				break;
			default:
				this.#options.onSkip(header.name);
		}
	}

	/**
	 * Makes sure that every directory on the way is one, and none a symlink.
	 * @throws ShaleError `conflict`
	 */
	async #enterDirectory(parts: readonly string[], { makes }: { readonly makes: boolean }): Promise<void> {
		if (join(this.#rootHostPath, ...parts) === this.#knownHostPath) return;
		let hostPath = this.#rootHostPath;
		for (const part of parts) {
			hostPath = join(hostPath, part);
			if (makes) await mkdir(hostPath).catch(ignoreExisting);
			const status = await lstat(hostPath);
			if (!status.isDirectory()) {
				const what = status.isSymbolicLink() ? "a symlink, which is not followed" : "no directory";
				throw new ShaleError("conflict", `${toPrintable(hostPath)} is ${what}`);
			}
		}
		this.#knownHostPath = hostPath;
	}

	async #makeDirectory(
		hostPath: string,
		attributes: { readonly mode: number; readonly modifiedAt: Date | undefined },
	): Promise<void> {
		try {
			await mkdir(hostPath, NEW_DIRECTORY_MODE);
			if (this.#made.length < MAX_DIRECTORIES) this.#made.push({ hostPath, ...attributes });
		} catch (error) {
			ignoreExisting(error);
			if (!(await lstat(hostPath)).isDirectory()) throw error;
		}
	}

	/** To a file below the target. */
	async #makeLink(hostPath: string, { linkname = "" }: TarHeader): Promise<void> {
		const parts = toParts(linkname);
		const firstHostPath = join(this.#rootHostPath, ...parts);
		await this.#enterDirectory(parts.slice(0, -1), { makes: false });
		if (!(await lstat(firstHostPath)).isFile()) {
			throw new ShaleError("conflict", `${toPrintable(linkname)} is no file that could be linked to`);
		}
		await placeAtomically(hostPath, (freshHostPath) => link(firstHostPath, freshHostPath));
	}

	#toMode({ mode = 0o644 }: TarHeader): number {
		return mode & (this.#options.keepSetuid ? 0o7777 : 0o777);
	}
}

/** @throws ShaleError `forbidden` for a name that leads outside. */
function toParts(name: string): readonly string[] {
	const parts = name.split("/").filter((part) => part !== "" && part !== ".");
	if (name.startsWith("/") || parts.includes("..")) {
		throw new ShaleError("forbidden", `the archive has ${JSON.stringify(name)}, which leads outside of it`);
	}
	return parts;
}

function toTime({ mtime }: TarHeader): Date | undefined {
	return mtime && Number.isFinite(mtime.getTime()) ? mtime : undefined;
}

function ignoreExisting(error: unknown): void {
	if (errnoCode(error) !== "EEXIST") throw error;
}
