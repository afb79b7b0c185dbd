/** A jailer that is a script: no privileges, and it answers what the test wants. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { StartJailerOptions } from "../../src/linux/jailer.ts";

/**
 * `handle(request, id, reply)` is JavaScript that runs for every request `{type, payload}`, except for the first, the
 * empty plan that `Jailer.start` sends. It may use `u32(…numbers)`, `ok(id, hostPid)` and `require`.
 */
export function writeScriptedJailer(
	context: TestContext,
	handle: string,
): StartJailerOptions & { readonly runDir: string } {
	const folder = mkdtempSync(join(tmpdir(), "shale-jailer-unit-"));
	context.after(() => rmSync(folder, { recursive: true }));
	const jailerPath = join(folder, "jailer.cjs");
	writeFileSync(jailerPath, toScript(handle), { mode: 0o755 });
	return { jailerPath, agentPath: "/agent", runDir: folder };
}

function toScript(handle: string): string {
	return `#!${process.execPath}
		const { Socket } = require("node:net");
		const socket = new Socket({ fd: 3 });
		const u32 = (...numbers) => Buffer.from(Uint32Array.from(numbers).buffer);
		const frame = (id, type, payload) =>
			Buffer.concat([u32(payload.length, id), Buffer.of(type), payload]);
		const reply = (id, type, payload) => socket.write(frame(id, type, payload));
		const ok = (id, pid) => reply(id, 1, u32(pid, 900 + pid, 0));
		let received = Buffer.alloc(0), first = true;
		socket.on("end", () => process.exit(0));
		socket.on("data", (chunk) => {
			received = Buffer.concat([received, chunk]);
			while (received.length >= 9 && received.length >= 9 + received.readUInt32LE(0)) {
				const length = received.readUInt32LE(0), id = received.readUInt32LE(4);
				const request = { type: received[8], payload: received.subarray(9, 9 + length) };
				received = received.subarray(9 + length);
				if (first) { first = false; ok(id, 0); continue; }
				(${handle})(request, id, reply);
			}
		});`;
}
