/** Routes of a sandbox's files. */
import { ShaleError } from "../../lib/errors.ts";
import type { FileAccess, FileEvent } from "../../sandbox/file-types.ts";
import { bytesReply } from "../byte-stream.ts";
import { replyContent } from "../file-content.ts";
import { readBytes } from "../request-body.ts";
import { type ApiContext, defineRoute, type Route } from "../route.ts";
import {
	extracted,
	fileAttributes,
	fileEvent,
	fileInfo,
	fileList,
	fileQuery,
	listQuery,
	makeDirectory,
	moveFile,
	removeQuery,
	statQuery,
	toFileInfo,
	toModeBits,
	watchQuery,
	writeQuery,
} from "../schemas/files.ts";
import { type ServerSentEvent, sseReply } from "../sse.ts";

const tag = "Files";
const TAR = "application/x-tar";

export const FILE_ROUTES: readonly Route[] = [
	defineRoute({
		name: "statFile",
		method: "GET",
		path: "/v1/sandboxes/{id}/files",
		tag,
		summary: "What a path is",
		description: "A symlink is told as such, unless `followSymlinks` is true.",
		query: statQuery,
		reply: { status: 200, description: "The file, directory or whatever it is.", json: fileInfo },
		handle: async ({ daemon, params, query, context }) => {
			const { followSymlinks = false } = query;
			const options = { ...toAccess(query, context), followSymlinks };
			return toFileInfo(await daemon.sandboxes.files.stat(params.id, query.path, options));
		},
	}),
	defineRoute({
		name: "setFileAttributes",
		method: "PATCH",
		path: "/v1/sandboxes/{id}/files",
		tag,
		summary: "Change mode and owner",
		description: "Of what a symlink points to, as chmod(2) and chown(2) do.",
		query: fileQuery,
		body: fileAttributes,
		reply: { status: 200, description: "The file as it is now.", json: fileInfo },
		handle: async ({ daemon, params, query, body: { mode, uid, gid }, context }) => {
			const change = {
				...toMode(mode),
				...(uid !== undefined && { uid }),
				...(gid !== undefined && { gid }),
			};
			const access = toAccess(query, context);
			return toFileInfo(await daemon.sandboxes.files.setAttributes(params.id, query.path, change, access));
		},
	}),
	defineRoute({
		name: "removeFile",
		method: "DELETE",
		path: "/v1/sandboxes/{id}/files",
		tag,
		summary: "Remove a file or directory",
		description: "A directory with contents needs `recursive`. Symlinks are removed, never followed.",
		query: removeQuery,
		reply: { status: 204, description: "It is removed." },
		handle: async ({ daemon, params, query, context }) => {
			const { recursive = false } = query;
			await daemon.sandboxes.files.remove(params.id, query.path, { ...toAccess(query, context), recursive });
			return undefined;
		},
	}),
	defineRoute({
		name: "listFiles",
		method: "GET",
		path: "/v1/sandboxes/{id}/files/list",
		tag,
		summary: "List a directory",
		query: listQuery,
		reply: { status: 200, description: "Its entries by path, without itself.", json: fileList },
		handle: async ({ daemon, params, query, context }) => {
			const { path, depth, limit } = query;
			const options = { ...toAccess(query, context), depth, limit };
			const { entries, truncated } = await daemon.sandboxes.files.list(params.id, path, options);
			return { entries: entries.map(toFileInfo), truncated };
		},
	}),
	defineRoute({
		name: "readFile",
		method: "GET",
		path: "/v1/sandboxes/{id}/files/content",
		tag,
		summary: "Read a file",
		description:
			"One `Range` of bytes is answered with 206, or 416 beyond the end; HEAD with the headers alone. " +
			"A body that is shorter than its Content-Length has failed.",
		query: fileQuery,
		answersHead: true,
		reply: { status: 200, description: "Its bytes.", bytes: "application/octet-stream" },
		handle: ({ daemon, params, query, context, log }) =>
			replyContent({
				files: daemon.sandboxes.files,
				sandboxId: params.id,
				guestPath: query.path,
				access: toAccess(query, context),
				context,
				log,
			}),
	}),
	defineRoute({
		name: "writeFile",
		method: "PUT",
		path: "/v1/sandboxes/{id}/files/content",
		tag,
		summary: "Write a file",
		description:
			"The body is the content, of any size. Other programs see the old file or the whole new one; when the " +
			"body breaks off, the old one stays. A new file gets `mode` (0644), an existing one keeps its own.",
		query: writeQuery,
		rawBody: "application/octet-stream",
		reply: { status: 200, description: "The file as it is now.", json: fileInfo },
		handle: async ({ daemon, params, query, context }) => {
			refusePartial(context);
			const { path, mode, parents, overwrite } = query;
			const options = { ...toAccess(query, context), ...toMode(mode), parents, overwrite };
			const { files } = daemon.sandboxes;
			return toFileInfo(await files.write(params.id, path, readBytes(context), options));
		},
	}),
	defineRoute({
		name: "makeDirectory",
		method: "POST",
		path: "/v1/sandboxes/{id}/files/directories",
		tag,
		summary: "Make a directory",
		body: makeDirectory,
		reply: { status: 201, description: "The directory.", json: fileInfo },
		handle: async ({ daemon, params, body, context }) => {
			const { path, mode, parents = false } = body;
			const options = { ...toAccess(body, context), ...toMode(mode), parents };
			return toFileInfo(await daemon.sandboxes.files.makeDirectory(params.id, path, options));
		},
	}),
	defineRoute({
		name: "moveFile",
		method: "POST",
		path: "/v1/sandboxes/{id}/files/move",
		tag,
		summary: "Move or rename",
		description: "As rename(2). An existing target is a `conflict` unless `overwrite` is true.",
		body: moveFile,
		reply: { status: 200, description: "What was moved, where it is now.", json: fileInfo },
		handle: async ({ daemon, params, body, context }) => {
			const { from, to, overwrite = false } = body;
			const options = { ...toAccess(body, context), overwrite };
			return toFileInfo(await daemon.sandboxes.files.move(params.id, { from, to }, options));
		},
	}),
	defineRoute({
		name: "downloadArchive",
		method: "GET",
		path: "/v1/sandboxes/{id}/files/archive",
		tag,
		summary: "Read a directory as a tar",
		description: "Its contents, or a single file. An answer that breaks off has failed.",
		query: fileQuery,
		reply: { status: 200, description: "A pax tar (POSIX.1-2001).", bytes: TAR },
		handle: async ({ daemon, params, query, context, log }) => {
			const { path } = query;
			const data = await daemon.sandboxes.files.archive(params.id, path, toAccess(query, context));
			return bytesReply(
				{ status: 200, headers: { "content-type": TAR }, data },
				{ context, log, doing: `archiving ${path} of ${params.id}` },
			);
		},
	}),
	defineRoute({
		name: "uploadArchive",
		method: "PUT",
		path: "/v1/sandboxes/{id}/files/archive",
		tag,
		summary: "Unpack a tar below a directory",
		description:
			"The body is a tar (pax, ustar or GNU), not compressed. The directory is made; nothing is written outside of " +
			"it. What was unpacked before an error stays.",
		query: fileQuery,
		rawBody: TAR,
		reply: { status: 200, description: "How many entries there were.", json: extracted },
		handle: ({ daemon, params, query, context }) =>
			daemon.sandboxes.files.extract(params.id, query.path, readBytes(context), toAccess(query, context)),
	}),
	defineRoute({
		name: "watchFiles",
		method: "GET",
		path: "/v1/sandboxes/{id}/files/watch",
		tag,
		summary: "Watch a file or directory",
		description:
			"Server-sent events as files change, named by their type. It is answered when the watch is set. `overflow` says " +
			"that events were lost; `end` that there will be no more.",
		query: watchQuery,
		reply: { status: 200, description: "Events as they come.", sse: fileEvent },
		handle: async ({ daemon, params, query, context, log }) => {
			const { path, recursive = false } = query;
			const cancelled = new AbortController();
			const signal = AbortSignal.any([context.req.raw.signal, cancelled.signal]);
			const options = { ...toAccess(query, context), signal, recursive };
			const events = toServerSent(await daemon.sandboxes.files.watch(params.id, path, options));
			const cancel = () => {
				cancelled.abort();
				// Between two events nobody is there to see the signal.
				events.return(undefined).catch(() => undefined);
			};
			return sseReply({ events, cancel }, { context, log, doing: `watching ${path} of ${params.id}` });
		},
	}),
];

function toAccess({ user }: { readonly user?: string | undefined }, { req }: ApiContext): FileAccess {
	return { ...(user !== undefined && { user }), signal: req.raw.signal };
}

function toMode(digits: string | undefined): { readonly mode?: number } {
	return digits === undefined ? {} : { mode: toModeBits(digits) };
}

/** A part that was taken for the whole would destroy the file, RFC 9110 section 14.5. */
function refusePartial({ req }: ApiContext): void {
	if (req.header("content-range") === undefined) return;
	throw new ShaleError("invalid_argument", "Content-Range: a file is written whole, not in parts");
}

async function* toServerSent(events: AsyncIterable<FileEvent>): AsyncGenerator<ServerSentEvent> {
	for await (const event of events) yield { event: event.type, data: event };
}
