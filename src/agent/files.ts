/**
 * File operations in a sandbox. Each is done by a worker of the agent, as one user of the sandbox, at the other end of a
 * tunnel: the request goes there, then perhaps data; records come back, the last of them the result.
 */

import { AgentError, toViolation } from "./agent-error.ts";
import type { AgentConnection } from "./connection.ts";
import { type FileFacts, type FileRecord, FileRecordDecoder } from "./file-records.ts";
import { FrameWriter, REQUEST } from "./frames.ts";
import type { AgentTunnel } from "./tunnel.ts";

export type { FileChange, FileFacts, FileType } from "./file-records.ts";

/** Paths are absolute, in the sandbox, at most 4095 bytes. */
export type FileRequest =
	| { readonly operation: "stat"; readonly path: string; readonly followSymlinks: boolean }
	| { readonly operation: "list"; readonly path: string; readonly depth: number; readonly limit: number }
	| { readonly operation: "read"; readonly path: string; readonly offset: number; readonly length: number }
	| {
			readonly operation: "write";
			readonly path: string;
			readonly mode: number;
			readonly parents: boolean;
			readonly overwrite: boolean;
	  }
	| {
			readonly operation: "makeDirectory";
			readonly path: string;
			readonly mode: number;
			readonly parents: boolean;
	  }
	| { readonly operation: "rename"; readonly path: string; readonly to: string; readonly overwrite: boolean }
	| { readonly operation: "remove"; readonly path: string; readonly recursive: boolean }
	| {
			readonly operation: "setAttributes";
			readonly path: string;
			readonly mode?: number | undefined;
			readonly uid?: number | undefined;
			readonly gid?: number | undefined;
	  }
	| { readonly operation: "archive"; readonly path: string }
	| { readonly operation: "extract"; readonly path: string }
	| { readonly operation: "watch"; readonly path: string; readonly recursive: boolean };

/** The worker's own refusal; failures of the tunnel are AgentErrors. */
export class FileOperationError extends Error {
	override readonly name = "FileOperationError";
	/** In errno(3)'s names. */
	readonly errnoName: string;
	/** `user`: there is no such user in the sandbox. */
	readonly subject: "operation" | "user";
	/** What it is about, when not the path of the request; may be empty. */
	readonly detail: string;

	constructor(
		errnoName: string,
		{ subject, detail }: { readonly subject: "operation" | "user"; readonly detail: string } = {
			subject: "operation",
			detail: "",
		},
	) {
		super(detail === "" ? errnoName : `${errnoName}: ${detail}`);
		this.errnoName = errnoName;
		this.subject = subject;
		this.detail = detail;
	}
}

/** The numbers of agent-files-worker.c. */
export const OPERATION: Record<FileRequest["operation"], number> = {
	stat: 1,
	list: 2,
	read: 3,
	write: 4,
	makeDirectory: 5,
	rename: 6,
	remove: 7,
	setAttributes: 8,
	archive: 9,
	extract: 10,
	watch: 11,
};
const WRITE = { parents: 1, newOnly: 2 } as const;
const SET = { mode: 1, uid: 2, gid: 4 } as const;

/** One operation under way. Read its records to the end, or close it. */
export class FileOperation {
	readonly #tunnel: AgentTunnel;
	readonly #signal: AbortSignal | undefined;
	readonly #onAbort = () => this.close();
	readonly #decoder = new FileRecordDecoder();
	#records: Iterator<FileRecord> | undefined;
	#sourceError: { readonly error: unknown } | undefined;
	#count = 0;

	constructor(tunnel: AgentTunnel, signal: AbortSignal | undefined) {
		this.#tunnel = tunnel;
		this.#signal = signal;
		signal?.addEventListener("abort", this.#onAbort, { once: true });
		if (signal?.aborted) this.close();
	}

	/**
	 * The next record; undefined when it has succeeded. Throws FileOperationError when the worker refuses or fails,
	 * AgentError when it ends without a result, was closed here, or the connection is lost.
	 */
	async next(): Promise<Exclude<FileRecord, { type: "result" }> | undefined> {
		for (;;) {
			const record = this.#records?.next();
			if (record && !record.done) {
				if (record.value.type !== "result") return record.value;
				return this.#finish(record.value.result);
			}
			const chunk = await this.#tunnel.read();
			if (!chunk) throw this.#toFailure();
			this.#records = this.#decoder.decode(chunk);
		}
	}

	/** The facts that come first. */
	async info(): Promise<FileFacts> {
		const record = await this.next();
		if (record?.type !== "info") throw toViolation("a file operation without facts");
		return record.facts;
	}

	/** What the worker counted; after {@link next} has said that it is done. */
	get count(): number {
		return this.#count;
	}

	/**
	 * Sends what `source` gives, and its end, which is what puts a written file in place. When `source` throws, the
	 * operation is closed, so that the worker undoes what it has done, and {@link next} throws the same. Returns early
	 * when the worker takes no more. Never rejects.
	 */
	async send(source: AsyncIterable<Uint8Array>): Promise<void> {
		try {
			for await (const bytes of source) if (!(await this.#tunnel.write(bytes))) return;
			this.#tunnel.endInput();
		} catch (error) {
			this.#sourceError = { error };
			this.close();
		}
	}

	/** May be repeated, and after the end. */
	close(): void {
		this.#signal?.removeEventListener("abort", this.#onAbort);
		this.#tunnel.close();
	}

	#finish(result: Extract<FileRecord, { type: "result" }>["result"]): undefined {
		this.#count = result.count;
		this.close();
		if (result.errnoName !== undefined) throw new FileOperationError(result.errnoName, result);
		return undefined;
	}

	#toFailure(): unknown {
		if (this.#sourceError) return this.#sourceError.error;
		return new AgentError("the worker for files ended without a result: it was killed, or memory ran out");
	}
}

/**
 * Starts an operation as a user of the sandbox ("" is root); `signal` closes it. The worker's refusals come with its first
 * record.
 */
export function openFileOperation(
	agent: AgentConnection,
	request: FileRequest,
	{ user, signal }: { readonly user: string; readonly signal?: AbortSignal | undefined },
): FileOperation {
	const tunnel = agent.openTunnel(`${request.operation} ${request.path}`, (channel, windowBytes) => {
		const frame = new FrameWriter(REQUEST.files, channel)
			.u32(windowBytes)
			.text("the user", user)
			.u8(OPERATION[request.operation]);
		return encodeFields(frame, request).finish();
	});
	return new FileOperation(tunnel, signal);
}

function encodeFields(frame: FrameWriter, request: FileRequest): FrameWriter {
	const putPath = () => frame.text("path", request.path);
	switch (request.operation) {
		case "stat":
			frame.u8(request.followSymlinks ? 1 : 0);
			return putPath();
		case "list":
			frame.u32(request.depth).u32(request.limit);
			return putPath();
		case "read":
			frame.u64(request.offset).u64(request.length);
			return putPath();
		case "write":
			frame
				.u32(request.mode)
				.u8((request.parents ? WRITE.parents : 0) | (request.overwrite ? 0 : WRITE.newOnly));
			return putPath();
		case "makeDirectory":
			frame.u32(request.mode).u8(request.parents ? 1 : 0);
			return putPath();
		case "rename":
			frame.u8(request.overwrite ? 1 : 0);
			return putPath().text("path", request.to);
		case "remove":
			frame.u8(request.recursive ? 1 : 0);
			return putPath();
		case "setAttributes":
			frame
				.u8(
					(request.mode === undefined ? 0 : SET.mode) |
						(request.uid === undefined ? 0 : SET.uid) |
						(request.gid === undefined ? 0 : SET.gid),
				)
				.u32(request.mode ?? 0)
				.u32(request.uid ?? 0)
				.u32(request.gid ?? 0);
			return putPath();
		case "watch":
			frame.u8(request.recursive ? 1 : 0);
			return putPath();
		case "archive":
		case "extract":
			return putPath();
	}
}
