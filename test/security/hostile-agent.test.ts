/**
 * An attacker that has taken an agent's place, which other tests show it cannot, and forges frames to the daemon: it loses
 * its own connection, and gains nothing over the daemon or other sandboxes. Each forgery is an honest answer with one lie.
 */
import assert from "node:assert/strict";
import { readFileSync, renameSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
	FrameDecoder,
	FrameWriter,
	MAX_PAYLOAD_BYTES,
	PROTOCOL_VERSION,
	REPLY,
	REQUEST,
} from "../../src/agent/frames.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";
import { ServedDaemon } from "../support/served-daemon.ts";

const BASE = "000-base-debian";
const MIB = 1024 * 1024;

const hello = () =>
	new FrameWriter(REPLY.hello, 0).u16(PROTOCOL_VERSION).u32(MAX_PAYLOAD_BYTES).text("", "forged").finish();
const started = (channel: number) => new FrameWriter(REPLY.started, channel).u32(7).u64(0).u64(0).finish();
const output = (channel: number, offset: number, data: string | Uint8Array) =>
	new FrameWriter(REPLY.output, channel).u8(1).u64(offset).bytes(Buffer.from(data)).finish();
const exit = (channel: number, stdoutEnd: number | bigint, { status = 0, timedOut = 0 } = {}) =>
	new FrameWriter(REPLY.exit, channel)
		.u32(status)
		.u8(timedOut)
		.u64(1)
		.u64(1)
		.u64(1)
		.u64(stdoutEnd)
		.u64(0)
		.finish();

function header(length: number, type: number, channel: number): Buffer {
	const bytes = Buffer.alloc(9);
	bytes.writeUInt32LE(length, 0);
	bytes.writeUInt8(type, 4);
	bytes.writeUInt32LE(channel, 5);
	return bytes;
}

const honest = (channel: number) => [started(channel), output(channel, 0, "honest"), exit(channel, 6)];

/** What comes instead of the honest answer to a START. */
const FORGERIES: Readonly<Record<string, (channel: number) => Iterable<Buffer>>> = {
	"a frame of 4 GiB": (channel) => [header(0xffff_ffff, REPLY.output, channel)],
	"a frame for a channel that nobody opened": (channel) => [started(channel), output(channel + 1, 0, "x")],
	"a frame for the connection's own channel": () => [new FrameWriter(REPLY.ok, 0).finish()],
	"a second greeting": () => [hello()],
	"a frame of an unknown type": (channel) => [new FrameWriter(0xff, channel).finish()],
	"a request, as only clients send them": (channel) => [
		new FrameWriter(REQUEST.signal, channel).u32(9).u8(1).text("", "x").finish(),
	],
	"output before the start": (channel) => [output(channel, 0, "x"), ...honest(channel)],
	"a second start": (channel) => [started(channel), ...honest(channel)],
	"output of a third stream": (channel) => [
		started(channel),
		new FrameWriter(REPLY.output, channel).u8(3).u64(0).bytes(Buffer.from("x")).finish(),
	],
	"output that goes back": (channel) => [started(channel), output(channel, 5, "x"), output(channel, 0, "x")],
	"output at an offset beyond what numbers can hold": (channel) => [
		started(channel),
		new FrameWriter(REPLY.output, channel)
			.u8(1)
			.u64(2n ** 63n)
			.bytes(Buffer.from("x"))
			.finish(),
	],
	"empty output without end": function* (channel) {
		yield started(channel);
		for (let n = 0; n < 100_000; n++) yield output(channel, 0, "");
	},
	"an exit before the end of the output": (channel) => [
		started(channel),
		output(channel, 0, "abc"),
		exit(channel, 1),
	],
	"an exit that is none": (channel) => [started(channel), exit(channel, 0, { status: 0x137f })],
	"a boolean that is neither": (channel) => [started(channel), exit(channel, 0, { timedOut: 2 })],
	"an exit with more in it than there is": (channel) => [
		started(channel),
		Buffer.concat([header(100, REPLY.exit, channel), Buffer.alloc(100)]),
	],
	"stdin credit for a process without stdin": (channel) => [
		started(channel),
		new FrameWriter(REPLY.stdinCredit, channel).u32(0xffff_ffff).finish(),
	],
	"an error with a message that is longer than its frame": (channel) => [
		Buffer.concat([header(8, REPLY.error, channel), Buffer.from([1, 0, 0, 0, 255, 255, 255, 255])]),
	],
	"the end of the connection": () => [],
};

describe("a hostile agent", { skip: missingRoot() || missingLayers(BASE) }, () => {
	let daemon: ServedDaemon;
	let server: Server;
	let answer: (channel: number) => Iterable<Buffer> = honest;
	let endsAfter = false;
	const sockets = new Set<Socket>();

	before(async () => {
		daemon = await ServedDaemon.start({ layers: [BASE] });
		for (const id of ["taken", "bystander"]) await call("POST", "/v1/sandboxes", { id });
		const socket = join(daemon.runHostPath, "sandboxes", "taken.sock");
		renameSync(socket, `${socket}.real`);
		server = createServer(serve).listen(socket);
		daemon.kill("daemon");
		await new Promise((resolve) => setTimeout(resolve, 100));
		await daemon.serving();
	});

	after(async () => {
		server?.close();
		for (const id of ["taken", "bystander"]) await call("DELETE", `/v1/sandboxes/${id}`);
		await daemon?.stop();
		rmSync(join(daemon.runHostPath, "sandboxes"), { recursive: true, force: true });
		daemon?.removeFolder();
	});

	/** In the agent's place. */
	function serve(socket: Socket): void {
		sockets.add(socket);
		socket.on("close", () => sockets.delete(socket));
		const decoder = new FrameDecoder();
		socket.on("error", () => undefined);
		socket.on("data", (chunk: Buffer) => {
			for (const { type, channel } of decoder.decode(chunk)) {
				if (type === REQUEST.hello) socket.write(hello());
				if (type !== REQUEST.start) continue;
				for (const frame of answer(channel)) socket.write(frame);
				if (endsAfter) socket.end();
			}
		});
	}

	async function call(method: string, path: string, body?: unknown) {
		const response = await fetch(daemon.url + path, {
			method,
			signal: AbortSignal.timeout(30_000),
			...(body !== undefined && {
				headers: { "content-type": "application/json" },
				body: JSON.stringify(body),
			}),
		});
		const text = await response.text();
		return {
			status: response.status,
			json: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>,
		};
	}

	const exec = (id: string) => call("POST", `/v1/sandboxes/${id}/exec`, { argv: ["echo", "alive"] });

	function residentBytes(): number {
		const status = readFileSync(`/proc/${daemon.pid}/status`, "utf8");
		return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
	}

	it("is believed as long as it is honest: the daemon really talks to it", async () => {
		answer = honest;
		const { json } = await exec("taken");
		assert.deepEqual([json.stdout, json.exitCode], ["honest", 0], JSON.stringify(json));
	});

	for (const [title, forge] of Object.entries(FORGERIES)) {
		it(`that sends ${title} is cut off, and nobody else notices`, async () => {
			answer = forge;
			endsAfter = title === "the end of the connection";
			const before = residentBytes();
			const { status, json } = await exec("taken");
			assert.deepEqual([status, json.code], [503, "unavailable"], JSON.stringify(json));
			assert.ok(residentBytes() - before < 64 * MIB, "the daemon's memory");
			assert.equal((await exec("bystander")).json.stdout, "alive\n");
			answer = honest;
			endsAfter = false;
			assert.equal((await exec("taken")).json.stdout, "honest", "a new connection begins anew");
		});
	}

	it("that sends more output than it has credit for is cut off, and costs no memory", async () => {
		let sent = 0;
		const bytes = Buffer.alloc(60_000);
		answer = function* (channel) {
			yield started(channel);
			for (; sent < 5000; sent++) yield output(channel, sent * bytes.length, bytes);
		};
		const cutOff = new Promise<void>((resolve) => {
			server.once("connection", (socket: Socket) => socket.once("close", () => resolve()));
		});
		// The daemon has to connect anew, so that the cut can be seen.
		for (const socket of sockets) socket.destroy();
		const before = residentBytes();
		// A client that does not read: so the credit is never renewed.
		const response = await fetch(`${daemon.url}/v1/sandboxes/taken/exec`, {
			method: "POST",
			headers: { "content-type": "application/json", accept: "application/x-ndjson" },
			body: JSON.stringify({ argv: ["flood"] }),
		});
		await cutOff;
		assert.ok(sent * bytes.length > 100 * MIB, "all of it was on its way");
		assert.ok(residentBytes() - before < 64 * MIB, "the daemon's memory");
		await response.body?.cancel();
		assert.equal((await exec("bystander")).json.stdout, "alive\n");
		answer = honest;
		assert.equal((await exec("taken")).json.stdout, "honest");
	});

	it("is destroyed like any other", async () => {
		assert.equal((await call("DELETE", "/v1/sandboxes/taken")).status, 204);
		assert.equal((await exec("bystander")).json.stdout, "alive\n");
	});
});
