/** Tunnels against an agent that the test plays, honest and not. With the real one: files.test.ts. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { AgentError } from "./agent-error.ts";
import type { ChannelReceiver } from "./channels.ts";
import { FrameDecoder, FrameWriter, PayloadReader, REPLY, REQUEST } from "./frames.ts";
import { AgentTunnel, FIRST_GRANT_BYTES, TUNNEL_WINDOW_BYTES } from "./tunnel.ts";

let tunnel: AgentTunnel | undefined;
let isReleased: boolean;
let sent: { type: number; payload: Buffer }[];

function open(): AgentTunnel {
	const decoder = new FrameDecoder();
	isReleased = false;
	sent = [];
	const opened = new AgentTunnel("test", {
		channel: 5,
		listen: (_: ChannelReceiver) => {},
		send: (bytes) => {
			for (const frame of decoder.decode(bytes))
				sent.push({ type: frame.type, payload: Buffer.from(frame.payload.takeRest()) });
		},
		release: () => {
			isReleased = true;
		},
		abandon: () => {},
	});
	tunnel = opened;
	return opened;
}

afterEach(() => tunnel?.fail(new AgentError("over")));

function receive(type: number, fill: (frame: FrameWriter) => FrameWriter = (frame) => frame): void {
	tunnel?.receive(type, new PayloadReader(fill(new FrameWriter(type, 5)).finish().subarray(9)));
}
const give = (data: Buffer) => receive(REPLY.tunnelData, (frame) => frame.bytes(data));
const grant = (bytes: number) => receive(REPLY.tunnelGrant, (frame) => frame.u32(bytes));
const end = (errno = 0, message = "") =>
	receive(REPLY.tunnelEnd, (frame) => frame.u32(errno).text("message", message));
const sentBytes = () =>
	sent
		.filter(({ type }) => type === REQUEST.tunnelWrite)
		.reduce((sum, { payload }) => sum + payload.length, 0);

const isViolation = (error: unknown) =>
	error instanceof AgentError && /broke the protocol/.test(error.message);

test("the agent has the window that is written to before its first grant", () => {
	const header = readFileSync(new URL("../../native/agent-tunnel.h", import.meta.url), "utf8");
	const kib = /TUNNEL_WINDOW_BYTES = (\d+) \* 1024/.exec(header)?.[1];
	assert.equal(Number(kib) * 1024, FIRST_GRANT_BYTES);
});

test("bytes are read in order, then the end", async () => {
	const tunnel = open();
	give(Buffer.from("one"));
	const first = tunnel.read();
	give(Buffer.alloc(50_000, 2));
	end();
	assert.equal((await first)?.toString(), "one");
	assert.equal((await tunnel.read())?.length, 50_000);
	assert.equal(await tunnel.read(), undefined);
	assert.equal(await tunnel.read(), undefined);
	assert.ok(isReleased);
});

test("an end with an errno is an error, after what came before it", async () => {
	const tunnel = open();
	give(Buffer.from("some"));
	end(11, "too many");
	assert.equal((await tunnel.read())?.toString(), "some");
	await assert.rejects(tunnel.read(), { errnoName: "EAGAIN", message: "test: too many (EAGAIN)" });
	assert.equal(await tunnel.write(Buffer.from("x")), false);
});

test("the agent gets new credit for what was read, and for no more", async () => {
	const tunnel = open();
	const piece = Buffer.alloc(TUNNEL_WINDOW_BYTES / 16);
	const fill = () => {
		for (let i = 0; i < 16; i++)
			for (let half = 0; half < 2; half++) give(piece.subarray(0, piece.length / 2));
	};
	fill();
	assert.throws(() => give(Buffer.alloc(1)), isViolation);
	assert.equal(sent.length, 0);
	for (let i = 0; i < 32; i++) await tunnel.read();
	const granted = sent
		.filter(({ type }) => type === REQUEST.tunnelCredit)
		.map(({ payload }) => payload.readUInt32LE(0));
	assert.equal(
		granted.reduce((sum, bytes) => sum + bytes, 0),
		TUNNEL_WINDOW_BYTES,
	);
	fill();
	assert.throws(() => give(Buffer.alloc(1)), isViolation);
});

test("many small pieces do not cost more than their bytes", async () => {
	const tunnel = open();
	for (let i = 0; i < 100_000; i++) give(Buffer.from([i & 255]));
	let reads = 0;
	for (let bytes = 0; bytes < 100_000; reads++) bytes += (await tunnel.read())?.length ?? assert.fail();
	assert.ok(reads < 100, `${reads} pieces`);
});

test("a writer sends within what is granted, in frames that fit, and waits for more", async () => {
	const tunnel = open();
	const content = Buffer.alloc(FIRST_GRANT_BYTES + 1000, 7);
	let hasWritten = false;
	const writing = tunnel.write(content).finally(() => {
		hasWritten = true;
	});
	await turn();
	assert.equal(sentBytes(), FIRST_GRANT_BYTES);
	assert.ok(sent.every(({ payload }) => payload.length <= 65_536 - 9));
	assert.equal(hasWritten, false);
	grant(64 * 1024);
	assert.equal(await writing, true);
	assert.equal(sentBytes(), content.length);
	assert.throws(() => grant(FIRST_GRANT_BYTES), isViolation);
	tunnel.endInput();
	tunnel.endInput();
	assert.equal(sent.filter(({ type }) => type === REQUEST.tunnelWriteEnd).length, 1);
	assert.equal(await tunnel.write(Buffer.from("late")), false);
});

test("the end of the tunnel wakes a writer that waits", async () => {
	const tunnel = open();
	const writing = tunnel.write(Buffer.alloc(2 * FIRST_GRANT_BYTES));
	await turn();
	end();
	assert.equal(await writing, false);
});

test("closing ends reading and writing at once, and the channel when the agent has answered", async () => {
	const tunnel = open();
	give(Buffer.from("unread"));
	const writing = tunnel.write(Buffer.alloc(2 * FIRST_GRANT_BYTES));
	await turn();
	tunnel.close();
	tunnel.close();
	assert.equal(await writing, false);
	assert.equal(await tunnel.read(), undefined);
	assert.equal(sent.filter(({ type }) => type === REQUEST.tunnelClose).length, 1);
	give(Buffer.from("was under way"));
	grant(1);
	assert.equal(isReleased, false);
	end();
	assert.ok(isReleased);
});

test("a lost connection is an error for the reader, and the end for the writer", async () => {
	const tunnel = open();
	const reading = tunnel.read();
	const writing = tunnel.write(Buffer.alloc(2 * FIRST_GRANT_BYTES));
	tunnel.fail(new AgentError("lost"));
	await assert.rejects(reading, /lost/);
	assert.equal(await writing, false);
});

test("frames that do not belong on a tunnel break the protocol", () => {
	open();
	assert.throws(() => give(Buffer.alloc(0)), isViolation);
	assert.throws(() => receive(REPLY.ok), isViolation);
	assert.throws(() => receive(REPLY.tunnelEnd), isViolation);
	assert.throws(() => receive(REPLY.tunnelGrant, (frame) => frame.u32(1).u8(0)), isViolation);
});
