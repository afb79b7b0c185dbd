/** Reading a file's content by HTTP: whole, a range of it, or its headers alone (RFC 9110, sections 8.8, 13.1.5, 14). */
import { ShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { FileAccess, FileInfo, ReadFile, SandboxFiles } from "../sandbox/file-types.ts";
import { parseByteRange } from "./byte-range.ts";
import { BYTE_HEADERS, bytesReply } from "./byte-stream.ts";
import { jsonReply } from "./replies.ts";
import type { ApiContext } from "./route.ts";

export interface ContentRequest {
	readonly files: SandboxFiles;
	readonly sandboxId: string;
	readonly guestPath: string;
	readonly access: FileAccess;
	readonly context: ApiContext;
	readonly log: Log;
}

type Part = Pick<ReadFile, "offset" | "length">;

/** @throws ShaleError as {@link SandboxFiles.read} does. */
export async function replyContent(request: ContentRequest): Promise<Response> {
	const { files, sandboxId, guestPath, access, context, log } = request;
	if (context.req.raw.method === "HEAD") return await replyHead(request);
	const part = await selectPart(request);
	if (part && "beyond" in part) return unsatisfiable(part.beyond);
	try {
		const { info, offset, lengthBytes, data } = await files.read(sandboxId, guestPath, {
			...access,
			...part,
		});
		if (part && lengthBytes === 0) {
			await data[Symbol.asyncIterator]().return?.();
			return unsatisfiable(info.sizeBytes);
		}
		const range = `bytes ${offset}-${offset + lengthBytes - 1}/${info.sizeBytes}`;
		return bytesReply(
			{
				status: part ? 206 : 200,
				headers: { ...describe(info), ...(part && { "content-range": range }) },
				lengthBytes,
				data,
			},
			{ context, log, doing: `reading ${guestPath} of ${sandboxId}` },
		);
	} catch (error) {
		const sizeBytes = part && findSize(error);
		if (sizeBytes === undefined) throw error;
		return unsatisfiable(sizeBytes);
	}
}

async function replyHead({ files, sandboxId, guestPath, access }: ContentRequest): Promise<Response> {
	const info = await files.stat(sandboxId, guestPath, { ...access, followSymlinks: true });
	if (info.type === "directory") throw new ShaleError("conflict", `${guestPath} is a directory`);
	const length = { "content-length": String(info.sizeBytes) };
	return new Response(null, { status: 200, headers: { ...BYTE_HEADERS, ...describe(info), ...length } });
}

/** What the Range header asks for; undefined for the whole file, `beyond` its size for what it does not have. */
async function selectPart(request: ContentRequest): Promise<Part | { readonly beyond: number } | undefined> {
	const { files, sandboxId, guestPath, access, context } = request;
	const range = parseByteRange(context.req.header("range"));
	if (!range) return undefined;
	const ifRange = context.req.header("if-range");
	if (ifRange === undefined && "first" in range) return toPart(range);
	// Only who knows the file can tell where its last bytes begin, and whether it is still the same.
	const info = await files.stat(sandboxId, guestPath, { ...access, followSymlinks: true });
	if (ifRange !== undefined && !isUnchanged(info, ifRange)) return undefined;
	if ("first" in range) return toPart(range);
	const length = Math.min(range.suffix, info.sizeBytes);
	if (length === 0) return { beyond: info.sizeBytes };
	return { offset: info.sizeBytes - length, length };
}

function toPart({ first, last }: { readonly first: number; readonly last: number | undefined }): Part {
	return { offset: first, ...(last !== undefined && { length: last - first + 1 }) };
}

/** Modified in the last second, a file may have changed again within the second that HTTP's dates can tell. */
function isUnchanged(info: FileInfo, ifRange: string): boolean {
	return ifRange === toHttpDate(info) && Date.now() - Date.parse(info.modifiedAt) > 2000;
}

/** The file's size, when the error is that the range begins beyond it. */
function findSize(error: unknown): number | undefined {
	if (!(error instanceof ShaleError) || error.code !== "invalid_argument") return undefined;
	const size = error.details?.sizeBytes;
	return typeof size === "number" ? size : undefined;
}

function unsatisfiable(sizeBytes: number): Response {
	const message = `Range: the file has only ${sizeBytes} bytes`;
	const reply = jsonReply(416, { code: "invalid_argument", message, details: { sizeBytes } });
	reply.headers.set("content-range", `bytes */${sizeBytes}`);
	return reply;
}

function describe(info: FileInfo): Record<string, string> {
	return {
		"content-type": "application/octet-stream",
		"accept-ranges": "bytes",
		"last-modified": toHttpDate(info),
	};
}

/** Never in the future, RFC 9110 section 8.8.2.1. */
function toHttpDate({ modifiedAt }: FileInfo): string {
	return new Date(Math.min(Date.parse(modifiedAt), Date.now())).toUTCString();
}
