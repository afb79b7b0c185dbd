/** Events and leaks of the fake daemon. */
import type { ServerResponse } from "node:http";

type Json = Record<string, unknown>;

export const LEAK: Json = { kind: "cgroup", name: "/sys/fs/cgroup/shale/x/sb-0", sandboxId: "sb-0" };

/** Two events and a comment; then the connection ends without an end having been told. */
export function tellEvents(response: ServerResponse): void {
	response.writeHead(200, { "Content-Type": "text/event-stream" });
	const facts = { sandboxId: "a", reason: "its agent was killed by SIGKILL" };
	for (const event of [
		{ id: "e-2", type: "reset" },
		{ id: "e-3", type: "sandbox.failed", ...facts },
	]) {
		const data = JSON.stringify({ ...event, at: "2026-01-01T00:00:00.000Z" });
		response.write(`id: ${event.id}\nevent: ${event.type}\ndata: ${data}\n\n: still here\n\n`);
	}
	response.end();
}

/** One loop device cannot be removed. */
export function garbage({ dryRun = false }: Json, leaks: readonly Json[]): Json {
	const stuck = { kind: "loop", name: "/dev/loop7", sandboxId: null };
	return { dryRun, removed: leaks, left: dryRun || leaks.length === 0 ? [] : [stuck] };
}
