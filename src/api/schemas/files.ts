/** Schemas of files. Modes are octal text, as chmod(1) and ls(1) have them: JSON has no octal numbers. */
import { z } from "zod";
import type { FileEvent, FileInfo } from "../../sandbox/file-types.ts";
import { fields, guestPath, queryBoolean, queryInteger, timestamp, user } from "./fields.ts";

const mode = z
	.string()
	.regex(/^[0-7]{3,4}$/, "must be 3 or 4 octal digits, such as 0644")
	.meta({ description: "Permission bits in octal.", examples: ["0644"] });

const filePath = guestPath.meta({ description: "Absolute path inside the sandbox." });

/** Whose rights count: on every operation. */
const access = { user: user.optional() };

/** The largest uid and gid: all ones mean "unchanged" to chown(2). */
const ACCOUNT_MAX = 0xffff_fffe;

const LIST_DEPTH_MAX = 64;
const LIST_ENTRIES_MAX = 100_000;

export const fileQuery = fields({ path: filePath, ...access });

export const statQuery = fields({ path: filePath, followSymlinks: queryBoolean.optional(), ...access });

export const listQuery = fields({
	path: filePath,
	depth: queryInteger({ min: 1, max: LIST_DEPTH_MAX })
		.optional()
		.meta({ description: "Levels below the directory; 1 when left out." }),
	limit: queryInteger({ min: 1, max: LIST_ENTRIES_MAX })
		.optional()
		.meta({ description: "Entries at most; 1000 when left out." }),
	...access,
});

export const writeQuery = fields({
	path: filePath,
	mode: mode.optional(),
	parents: queryBoolean.optional().meta({ description: "Make missing directories above it." }),
	overwrite: queryBoolean
		.optional()
		.meta({ description: "false: an existing file is a `conflict`. true when left out." }),
	...access,
});

export const removeQuery = fields({
	path: filePath,
	recursive: queryBoolean.optional().meta({ description: "A directory with all that is in it." }),
	...access,
});

export const watchQuery = fields({ path: filePath, recursive: queryBoolean.optional(), ...access });

export const makeDirectory = fields({
	path: filePath,
	mode: mode.optional(),
	parents: z
		.boolean()
		.optional()
		.meta({ description: "Make missing directories above it too, and take one that exists." }),
	...access,
}).meta({ id: "MakeDirectory" });

export const moveFile = fields({
	from: filePath,
	to: filePath,
	overwrite: z.boolean().optional().meta({ description: "false when left out." }),
	...access,
}).meta({ id: "MoveFile" });

const account = z.int().min(0).max(ACCOUNT_MAX);

export const fileAttributes = fields({
	mode: mode.optional(),
	uid: account.optional(),
	gid: account.optional(),
})
	.refine((change) => Object.values(change).some((value) => value !== undefined), {
		error: "must change something: mode, uid or gid",
	})
	.meta({ id: "FileAttributes" });

export const fileInfo = z
	.object({
		name: z.string(),
		path: z.string(),
		type: z.enum(["file", "directory", "symlink", "fifo", "socket", "block", "character"]),
		sizeBytes: z.int(),
		mode: z.string().meta({ description: "Permission bits, four octal digits.", examples: ["0644"] }),
		uid: z.int(),
		gid: z.int(),
		modifiedAt: timestamp,
		target: z.string().nullable().meta({ description: "Where a symlink points, as it is written." }),
	})
	.meta({ id: "FileInfo" });

export const fileList = z
	.object({
		entries: z.array(fileInfo),
		truncated: z.boolean().meta({ description: "There were more than `limit`." }),
	})
	.meta({ id: "FileList" });

export const extracted = z.object({ entries: z.int() }).meta({ id: "ExtractedArchive" });

export const fileEvent: z.ZodType<FileEvent> = z
	.object({
		type: z.enum(["created", "modified", "removed", "moved_from", "moved_to", "overflow"]),
		path: z.string(),
		isDirectory: z.boolean(),
	})
	.meta({ id: "FileEvent" });

/** Permission bits of a checked mode. */
export function toModeBits(digits: string): number {
	return Number.parseInt(digits, 8);
}

/** As the API tells it. */
export function toFileInfo({ mode: bits, ...info }: FileInfo): z.output<typeof fileInfo> {
	return { ...info, mode: bits.toString(8).padStart(4, "0") };
}
