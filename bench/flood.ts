/** A program that writes without end to a reader that hardly reads: what it does to others, and to the daemon's memory. */
import { once } from "node:events";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { BenchDaemon } from "./daemon.ts";
import type { HttpConnection } from "./http-connection.ts";
import { watchResident } from "./memory.ts";
import { type Summary, summarize } from "./statistics.ts";
import { execSubject, expect } from "./subjects.ts";

const EXECS = 1000;

/** The reader takes one piece in so much time. */
const READ_EVERY_MS = 50;

export interface FloodFigures {
	readonly without: Summary;
	readonly beside: Summary;
	/** The most that the daemon's resident memory was above what it was before the flood. */
	readonly daemonGrowthBytes: number;
}

/** Execs in one sandbox, without and then beside a flood in the same one. */
export async function measureFlood(
	{ port, pid }: BenchDaemon,
	http: HttpConnection,
	{ layers }: { readonly layers: readonly string[] },
): Promise<FloodFigures> {
	const id = `flood-${process.pid}`;
	// More than one CPU for both programs, so that what is seen is not the sandbox's own limit.
	const limits = { cpuMillis: 2000 };
	await expect(http, 201, { method: "POST", path: "/v1/sandboxes", body: { id, layers, limits } });
	const execs = execSubject(http, id);
	try {
		await execs.sample(EXECS / 10);
		const without = summarize(await execs.sample(EXECS));
		const resident = watchResident(pid);
		const flood = await startFlood(port, id);
		const beside = summarize(await execs.sample(EXECS));
		const daemonGrowthBytes = resident.stop();
		flood.destroy();
		return { without, beside, daemonGrowthBytes };
	} finally {
		await expect(http, 204, { method: "DELETE", path: `/v1/sandboxes/${id}` });
	}
}

/** Resolves when the first output has come. */
async function startFlood(port: number, id: string): Promise<ClientRequest> {
	const asked = request(`http://127.0.0.1:${port}/v1/sandboxes/${id}/exec`, {
		method: "POST",
		headers: { "content-type": "application/json", accept: "application/x-ndjson" },
	});
	asked.on("error", () => undefined);
	asked.end(JSON.stringify({ argv: ["yes"] }));
	const [response] = (await once(asked, "response")) as [IncomingMessage];
	await once(response, "readable");
	void readSlowly(response);
	return asked;
}

async function readSlowly(response: IncomingMessage): Promise<void> {
	try {
		for await (const _ of response) await sleep(READ_EVERY_MS);
	} catch {
		// It ends with the flood.
	}
}
