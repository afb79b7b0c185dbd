/** Tars of this machine's files, made as they are read. Owners are left out: what comes into a sandbox is its user's. */
import { type BigIntStats, createReadStream } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { createTarPacker, type TarHeader } from "modern-tar";
import { ShaleError } from "../../lib/errors.ts";
import type { Bytes } from "./ends.ts";
import { onHost } from "./host-errors.ts";

type Controller = ReturnType<typeof createTarPacker>["controller"];

/** For reading: fewer, larger pieces than the default of 64 KiB. */
const READ_BYTES = 256 * 1024;

/** One file, whose content must have the size that is said. */
export function packFile(
	name: string,
	file: { readonly sizeBytes: number; readonly mode: number; readonly modifiedAt: Date },
	data: Bytes,
): Bytes {
	const { sizeBytes: size, mode, modifiedAt } = file;
	const seconds = modifiedAt.getTime() / 1000;
	return pack((controller) =>
		add(controller, { name, type: "file", size, mode, ...toTime(seconds.toFixed(3)) }, data),
	);
}

/** What is in a directory, with symlinks as such. `onSkip` is told what cannot be in a tar or makes no sense elsewhere. */
export function packDirectory(hostPath: string, onSkip: (hostPath: string) => void): Bytes {
	return pack((controller) => addEntries(controller, { hostPath, prefix: "", onSkip }));
}

function pack(feed: (controller: Controller) => Promise<void>): Bytes {
	const { readable, controller } = createTarPacker();
	feed(controller).then(
		() => controller.finalize(),
		(error: unknown) => controller.error(error),
	);
	return readable;
}

async function add(controller: Controller, header: TarHeader, data?: Bytes): Promise<void> {
	const writer = controller.add({ uid: 0, gid: 0, ...header }).getWriter();
	for await (const chunk of data ?? []) await writer.write(chunk);
	await writer.close();
}

interface Folder {
	readonly hostPath: string;
	/** Of the names of its entries in the tar; ends with a slash unless it is empty. */
	readonly prefix: string;
	readonly onSkip: (hostPath: string) => void;
}

async function addEntries(controller: Controller, folder: Folder): Promise<void> {
	const names = await onHost(`reading ${folder.hostPath}`, () => readdir(folder.hostPath));
	for (const name of names.sort()) {
		const hostPath = join(folder.hostPath, name);
		if (name.includes("\ufffd")) {
			throw new ShaleError("unsupported", `${hostPath}: a name that is not UTF-8 cannot be copied`);
		}
		await onHost(`reading ${hostPath}`, () => addEntry(controller, name, { ...folder, hostPath }));
	}
}

async function addEntry(
	controller: Controller,
	name: string,
	{ hostPath, prefix, onSkip }: Folder,
): Promise<void> {
	const status = await lstat(hostPath, { bigint: true });
	const header = {
		name: prefix + name,
		mode: Number(status.mode & 0o7777n),
		size: 0,
		...toTime(toSeconds(status)),
	};
	if (status.isDirectory()) {
		await add(controller, { ...header, name: `${header.name}/`, type: "directory" });
		await addEntries(controller, { hostPath, prefix: `${header.name}/`, onSkip });
	} else if (status.isSymbolicLink()) {
		await add(controller, { ...header, type: "symlink", linkname: await readlink(hostPath) });
	} else if (status.isFile()) {
		const size = Number(status.size);
		await add(controller, { ...header, type: "file", size }, readHostFile(hostPath, size));
	} else onSkip(hostPath);
}

/** At most `sizeBytes` of it: a file that grows meanwhile is copied as it was. */
export function readHostFile(hostPath: string, sizeBytes?: number): Bytes {
	if (sizeBytes === 0) return nothing();
	const end = sizeBytes === undefined ? undefined : sizeBytes - 1;
	return createReadStream(hostPath, { highWaterMark: READ_BYTES, ...(end !== undefined && { end }) });
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** With the fraction that only an extension header can tell. */
function toTime(seconds: string): Pick<TarHeader, "mtime" | "pax"> {
	const whole = Math.max(0, Math.floor(Number(seconds)));
	const hasFraction = Number(seconds) > 0 && /\.\d*[1-9]/.test(seconds);
	return { mtime: new Date(whole * 1000), ...(hasFraction && { pax: { mtime: seconds } }) };
}

/** Decimal, exact to the nanosecond. */
function toSeconds({ mtimeNs }: BigIntStats): string {
	const digits = mtimeNs.toString().padStart(10, "0");
	return mtimeNs < 0n ? "0" : `${digits.slice(0, -9)}.${digits.slice(-9)}`;
}
