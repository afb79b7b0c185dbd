/** A large file through the files API: how fast, and what it costs the daemon in memory. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { performance } from "node:perf_hooks";
import { pipeline } from "node:stream/promises";
import type { BenchDaemon } from "./daemon.ts";
import type { HttpConnection } from "./http-connection.ts";
import { watchResident } from "./memory.ts";
import { expect } from "./subjects.ts";

const PIECE_BYTES = 1024 * 1024;

export interface FileFigures {
	readonly sizeBytes: number;
	readonly inBytesPerSecond: number;
	readonly outBytesPerSecond: number;
	/** The most that the daemon's resident memory was above what it was before, in either direction. */
	readonly daemonGrowthBytes: number;
}

/** The file lies in a tmpfs, so that no disk is measured. Its checksum is compared in the sandbox, untimed. */
export async function measureFile(
	{ port, pid }: BenchDaemon,
	http: HttpConnection,
	{ layers, sizeMiB }: { readonly layers: readonly string[]; readonly sizeMiB: number },
): Promise<FileFigures> {
	const id = `files-${process.pid}`;
	const limits = { memoryMiB: sizeMiB + 512, diskMiB: sizeMiB + 64 };
	await expect(http, 201, { method: "POST", path: "/v1/sandboxes", body: { id, layers, limits } });
	const url = `http://127.0.0.1:${port}/v1/sandboxes/${id}/files/content?path=/file`;
	const sizeBytes = sizeMiB * PIECE_BYTES;
	const resident = watchResident(pid);
	try {
		const inMs = await timed(() => upload(url, sizeMiB));
		const outMs = await timed(() => download(url, sizeBytes));
		const daemonGrowthBytes = resident.stop();
		await compareChecksum(http, id, sizeMiB);
		return {
			sizeBytes,
			inBytesPerSecond: sizeBytes / (inMs / 1000),
			outBytesPerSecond: sizeBytes / (outMs / 1000),
			daemonGrowthBytes,
		};
	} finally {
		resident.stop();
		await expect(http, 204, { method: "DELETE", path: `/v1/sandboxes/${id}` });
	}
}

async function upload(url: string, sizeMiB: number): Promise<void> {
	const asked = request(url, { method: "PUT", headers: { "content-length": sizeMiB * PIECE_BYTES } });
	const answered = once(asked, "response") as Promise<[IncomingMessage]>;
	await pipeline(pieces(sizeMiB), asked);
	const [response] = await answered;
	if (response.statusCode !== 200) throw new Error(`writing the file answered ${response.statusCode}`);
	response.resume();
	await once(response, "end");
}

async function download(url: string, sizeBytes: number): Promise<void> {
	const asked = request(url);
	asked.end();
	const [response] = (await once(asked, "response")) as [IncomingMessage];
	let gotBytes = 0;
	response.on("data", (chunk: Buffer) => {
		gotBytes += chunk.length;
	});
	await once(response, "end");
	if (gotBytes !== sizeBytes) throw new Error(`reading the file gave ${gotBytes} bytes`);
}

/** Each piece differs, so that lost or swapped ones change the checksum. */
function* pieces(count: number): Generator<Buffer> {
	for (let n = 0; n < count; n++) {
		const piece = Buffer.alloc(PIECE_BYTES, n % 251);
		piece.writeUInt32LE(n);
		yield piece;
	}
}

async function compareChecksum(http: HttpConnection, id: string, sizeMiB: number): Promise<void> {
	const hash = createHash("sha256");
	for (const piece of pieces(sizeMiB)) hash.update(piece);
	const body = { argv: ["sha256sum", "/file"] };
	const result = await expect(http, 200, { method: "POST", path: `/v1/sandboxes/${id}/exec`, body });
	const { stdout } = result as { stdout: string };
	if (!stdout.startsWith(hash.digest("hex"))) throw new Error("the file's checksum is wrong");
}

async function timed(run: () => Promise<void>): Promise<number> {
	const startedAt = performance.now();
	await run();
	return performance.now() - startedAt;
}
