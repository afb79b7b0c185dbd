/** What a hostile agent sends: conversations that are right, and changes that make them wrong. */
import { FrameWriter, HEADER_BYTES, PROTOCOL_VERSION, REPLY } from "../../src/agent/frames.ts";
import { CHANNEL, MODE } from "./hostile-agent.ts";

/** Numbers from 0 up to, without, `below`; the same for the same seed. */
export type Random = (below: number) => number;

/** Mulberry32. */
export function toRandom(seed: number): Random {
	let state = seed >>> 0;
	return (below) => {
		state = (state + 0x6d2b79f5) >>> 0;
		let mixed = Math.imul(state ^ (state >>> 15), state | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
	};
}

type Fill = (frame: FrameWriter) => FrameWriter;

// One FrameWriter at a time: each is finished before the next is begun.
const frame = (type: number, channel: number, fill: Fill = (empty) => empty) =>
	fill(new FrameWriter(type, channel)).finish();
const hello = (version: number = PROTOCOL_VERSION) =>
	frame(REPLY.hello, 0, (f) => f.u16(version).u32(65_536).text("build", "x"));
const started = (channel: number, stdout = 0) =>
	frame(REPLY.started, channel, (f) => f.u32(7).u64(stdout).u64(0));
const output = (channel: number, offset: number, length: number, stream = 1) =>
	frame(REPLY.output, channel, (f) => f.u8(stream).u64(offset).bytes(Buffer.alloc(length, 97)));
const exit = (channel: number, stdoutEnd: number, stderrEnd = 0) =>
	frame(REPLY.exit, channel, (f) => f.u32(256).u8(0).u64(1).u64(2).u64(3).u64(stdoutEnd).u64(stderrEnd));
const stdinCredit = (channel: number, bytes: number) =>
	frame(REPLY.stdinCredit, channel, (f) => f.u32(bytes));
const error = (channel: number, errno: number) =>
	frame(REPLY.error, channel, (f) => f.u32(errno).text("message", "no"));
const ok = (channel: number) => frame(REPLY.ok, channel);
const listed = (id: string, state: { exited: number; stdin: number }) =>
	frame(REPLY.process, CHANNEL.list, (f) =>
		f
			.u32(7)
			.u8(state.exited)
			.u32(0)
			.u8(0)
			.u8(0)
			.u8(state.stdin)
			.u16(1)
			.u64(1_700_000_000_000)
			.u64(state.exited)
			.u64(0)
			.u64(9)
			.u64(0)
			.u64(9)
			.u64(4)
			.text("id", id)
			.text("tag", "t")
			.u32(1)
			.text("argv", "cat"),
	);

const record = (type: number, payload: Buffer) => {
	const head = Buffer.from([type, 0, 0, 0, 0]);
	head.writeUInt32LE(payload.length, 1);
	return Buffer.concat([head, payload]);
};
const tunnelData = (channel: number, ...records: Buffer[]) =>
	frame(REPLY.tunnelData, channel, (f) => f.bytes(Buffer.concat(records)));
const tunnelEnd = (channel: number, errno = 0) =>
	frame(REPLY.tunnelEnd, channel, (f) => f.u32(errno).text("message", ""));
const payload = (fill: Fill) => Buffer.from(frame(0, 0, fill).subarray(HEADER_BYTES));
const facts = record(
	1,
	payload((f) =>
		f.u8(1).u32(0o644).u32(0).u32(0).u64(5).u64(1_700_000_000).u32(0).text("", "name").text("", ""),
	),
);
const change = record(
	3,
	payload((f) => f.u8(1).u8(0).text("", "name")),
);
const result = record(
	4,
	payload((f) => f.u32(0).u8(0).u64(1).text("", "")),
);

const answers: readonly Buffer[] = [
	hello(),
	stdinCredit(CHANNEL.start, 65_536),
	started(CHANNEL.start),
	started(CHANNEL.startDetached),
	started(CHANNEL.attachHolding),
	started(CHANNEL.attach, 9),
	listed("main", { exited: 0, stdin: 1 }),
	listed("other", { exited: 1, stdin: 0 }),
	frame(REPLY.done, CHANNEL.list),
	ok(CHANNEL.signal),
	ok(CHANNEL.resize),
	error(CHANNEL.forget, 16),
	stdinCredit(CHANNEL.stdin, 65_536),
];

const flow: readonly Buffer[] = [
	output(CHANNEL.start, 0, 2000),
	output(CHANNEL.start, 0, 500, 2),
	output(CHANNEL.attachHolding, 0, 2000),
	output(CHANNEL.attach, 2000, 1000),
	output(CHANNEL.start, 2000, 1000),
	stdinCredit(CHANNEL.start, 40_000),
	stdinCredit(CHANNEL.stdin, 40_000),
	tunnelData(CHANNEL.read, facts, facts, result),
	tunnelEnd(CHANNEL.read),
	tunnelData(CHANNEL.watch, change, change),
	tunnelData(CHANNEL.write, result),
];

const ends: readonly Buffer[] = [
	stdinCredit(CHANNEL.start, 0),
	exit(CHANNEL.start, 3000, 500),
	exit(CHANNEL.attachHolding, 3000, 500),
	exit(CHANNEL.attach, 3000),
	error(CHANNEL.stdin, 32),
	tunnelEnd(CHANNEL.watch, 5),
	tunnelEnd(CHANNEL.write),
];

const toInput = (mode: number, frames: readonly Buffer[], pieceBytes = 0) =>
	Buffer.concat([Buffer.from([mode, pieceBytes]), ...frames]);

/** With these the fuzzing begins. */
export const CONVERSATIONS: readonly Buffer[] = [
	toInput(MODE.hangsUp, [...answers, ...flow, ...ends]),
	toInput(0, [...answers, ...flow, ...ends], 7),
	toInput(MODE.isUnread, [...answers, ...flow]),
	toInput(MODE.hangsUp, answers, 100),
	toInput(0, [hello(), error(CHANNEL.start, 17), error(CHANNEL.attach, 2), error(CHANNEL.stdin, 32)]),
	toInput(MODE.hangsUp, [hello(1)]),
	toInput(0, []),
];

const NUMBERS = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/** Some changes to one of the inputs: frames repeated, left out, exchanged or taken from another, bytes and numbers set. */
export function mutate(random: Random, inputs: readonly Uint8Array[]): Buffer {
	const pick = <T>(from: readonly T[]) => from[random(from.length)] as T;
	const input = Buffer.from(pick(inputs));
	const head = Buffer.from(input.subarray(0, 2));
	const frames = toFrames(input.subarray(2));
	for (let count = 1 + random(4); count > 0 && frames.length > 0; count--) {
		const at = random(frames.length);
		const chosen = frames[at] as Buffer;
		const changes: (() => unknown)[] = [
			() => frames.splice(at, 1),
			() => frames.splice(random(frames.length), 0, chosen),
			() => frames.splice(at, 1, pick(frames)),
			() => frames.splice(at, 0, ...pickSome(random, toFrames(Buffer.from(pick(inputs)).subarray(2)))),
			() => frames.splice(at, 1, chosen.subarray(0, random(chosen.length + 1))),
			() => frames.splice(at, 1, setByte(random, chosen, random(chosen.length))),
			() => frames.splice(at, 1, setByte(random, chosen, Math.min(4 + random(6), chosen.length - 1))),
			() => frames.splice(at, 1, setNumber(chosen, random(chosen.length), pick(NUMBERS))),
			() => frames.splice(at, 1, lengthen(random, chosen)),
			() => head.writeUInt8(random(4), 0),
			() => head.writeUInt8(random(3) === 0 ? 1 + random(255) : 0, 1),
		];
		pick(changes)();
	}
	return Buffer.concat([head, ...frames]);
}

/** As far as they are frames; what is left is one more. */
function toFrames(bytes: Buffer): Buffer[] {
	const frames: Buffer[] = [];
	for (let at = 0; at < bytes.length; ) {
		const isWhole = bytes.length - at >= HEADER_BYTES;
		const end = isWhole ? at + HEADER_BYTES + bytes.readUInt32LE(at) : bytes.length;
		frames.push(Buffer.from(bytes.subarray(at, end)));
		at = end;
	}
	return frames;
}

function pickSome(random: Random, frames: readonly Buffer[]): readonly Buffer[] {
	const start = random(frames.length + 1);
	return frames.slice(start, start + 1 + random(3));
}

function setByte(random: Random, frame: Buffer, at: number): Buffer {
	const changed = Buffer.from(frame);
	if (at >= 0 && at < changed.length) changed[at] = random(256);
	return changed;
}

function setNumber(frame: Buffer, at: number, value: number): Buffer {
	const changed = Buffer.from(frame);
	if (at + 4 <= changed.length) changed.writeUInt32LE(value, at);
	return changed;
}

/** The length that it says is its length. */
function lengthen(random: Random, frame: Buffer): Buffer {
	if (frame.length < HEADER_BYTES) return frame;
	const more = Buffer.alloc(random(3) === 0 ? random(70_000) : random(20), random(256));
	const changed = Buffer.concat([frame, more]);
	changed.writeUInt32LE(changed.length - HEADER_BYTES, 0);
	return changed;
}
