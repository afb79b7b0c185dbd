/**
 * What clients send to an agent, with which the fuzzer of its frames begins. `node test/support/frames-corpus.ts` writes it
 * to native/fuzz/corpus/frames; the other files there are inputs that it found. What the programs do by their first letter
 * is in native/fuzz/frames-fuzz.c.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FrameWriter, PROTOCOL_VERSION, REQUEST } from "../../src/agent/frames.ts";
import { encodeStart, type StartProcess } from "../../src/agent/process-spec.ts";

export const FRAMES_CORPUS_FOLDER = join(import.meta.dirname, "../../native/fuzz/corpus/frames");

/** The first byte of an input. */
const MODE = { greets: 1, readsNothing: 2, sendsPieces: 4 } as const;

type Fill = (frame: FrameWriter) => FrameWriter;

// One FrameWriter at a time: each is finished before the next is begun.
const frame = (type: number, channel: number, fill: Fill = (empty) => empty) =>
	fill(new FrameWriter(type, channel)).finish();
const start = (channel: number, name: string, spec: Partial<StartProcess> = {}) =>
	encodeStart(channel, { id: name, argv: [name], windowBytes: 20_000, ringBytes: 4096, ...spec });
const attach = (channel: number, id: string, reader: { hold: boolean; credit: number }) =>
	frame(REQUEST.attach, channel, (f) =>
		f
			.u32(reader.hold ? 1 : 0)
			.u64(0)
			.u64(0)
			.u32(reader.credit)
			.text("id", id),
	);
const named = (type: number, channel: number, id: string) => frame(type, channel, (f) => f.text("id", id));
const credit = (channel: number, bytes: number) => frame(REQUEST.credit, channel, (f) => f.u32(bytes));
const kill = (channel: number, id: string) =>
	frame(REQUEST.signal, channel, (f) => f.u32(9).u8(1).text("id", id));
const resize = (channel: number, id: string) =>
	frame(REQUEST.resize, channel, (f) => f.u16(100).u16(30).text("id", id));
const stdin = (channel: number, length: number) =>
	frame(REQUEST.stdin, channel, (f) => f.bytes(Buffer.alloc(length, 97)));
const stdinClose = (channel: number) => frame(REQUEST.stdinClose, channel);
const detach = (channel: number) => frame(REQUEST.detach, channel);
const list = (channel: number) => frame(REQUEST.list, channel);
const hello = (version: number) => frame(REQUEST.hello, 0, (f) => f.u16(version));
const files = (channel: number, bytes: number) =>
	frame(REQUEST.files, channel, (f) => f.u32(bytes).text("user", "").u8(1).text("path", "/"));
const tunnelWrite = (channel: number, length: number) =>
	frame(REQUEST.tunnelWrite, channel, (f) => f.bytes(Buffer.alloc(length, 98)));
const tunnelCredit = (channel: number, bytes: number) =>
	frame(REQUEST.tunnelCredit, channel, (f) => f.u32(bytes));

const pty = { columns: 80, rows: 24 };
const limits = [{ resource: 7, soft: 5, hard: 9 }];
const readers = Array.from({ length: 17 }, (_, i) => attach(10 + i, "s", { hold: i % 2 === 0, credit: 9 }));

/** By file name: the mode, and the frames. */
const CONVERSATIONS: Readonly<Record<string, readonly [number, ...Buffer[]]>> = {
	exit: [MODE.greets, start(1, "x"), list(2)],
	transient: [MODE.greets, start(1, "x", { isTransient: true, stdin: true }), list(2)],
	missing: [MODE.greets, start(1, "!"), attach(2, "!", { hold: false, credit: 99 })],
	environment: [
		MODE.greets,
		start(1, "s", { user: "nobody:1", cwd: "/tmp", env: { A: "1" }, limits, tag: "t" }),
	],
	"same-again": [MODE.greets, start(1, "s"), start(2, "s"), named(REQUEST.forget, 3, "s"), list(4)],
	readers: [MODE.greets | MODE.sendsPieces, start(1, "s"), ...readers, detach(12), kill(4, "s")],
	onlooker: [
		MODE.greets | MODE.sendsPieces,
		start(1, "f", { attach: false }),
		attach(2, "f", { hold: false, credit: 100 }),
		...[3, 4, 5, 6].map(list),
		credit(2, 9000),
		...[7, 8].map(list),
		credit(2, 50_000),
		kill(9, "f"),
	],
	flood: [
		MODE.greets | MODE.sendsPieces,
		start(1, "f"),
		attach(2, "f", { hold: false, credit: 1000 }),
		attach(3, "f", { hold: true, credit: 500 }),
		credit(1, 30_000),
		detach(3),
		credit(2, 9000),
		kill(4, "f"),
		credit(1, 200_000),
	],
	"flood-unread": [MODE.greets | MODE.readsNothing, start(1, "f"), start(2, "f2"), list(3), kill(4, "f")],
	background: [MODE.greets, start(1, "b"), credit(1, 90_000), named(REQUEST.forget, 2, "b"), start(3, "s")],
	stdin: [MODE.greets, start(1, "r", { stdin: true }), stdin(1, 3000), stdinClose(1), credit(1, 90_000)],
	"stdin-open": [
		MODE.greets | MODE.sendsPieces,
		start(1, "r", { stdin: true, attach: false }),
		named(REQUEST.stdinOpen, 2, "r"),
		stdin(2, 10),
		named(REQUEST.stdinOpen, 3, "r"),
		stdinClose(2),
		attach(4, "r", { hold: true, credit: 99 }),
		named(REQUEST.stdinOpen, 5, "r"),
	],
	"stdin-end": [MODE.greets, start(1, "s", { stdin: true }), stdin(1, 99), detach(1), kill(2, "s")],
	"stdin-closed": [MODE.greets, start(1, "c", { stdin: true }), stdin(1, 4000), stdin(1, 4000)],
	terminal: [
		MODE.greets | MODE.sendsPieces,
		start(1, "f", { pty, stdin: true }),
		resize(2, "f"),
		stdin(1, 20),
		stdinClose(1),
		attach(3, "f", { hold: false, credit: 999 }),
		kill(4, "f"),
		credit(1, 90_000),
	],
	"terminal-full": [MODE.greets, start(1, "s", { pty, stdin: true }), stdin(1, 7900), stdinClose(1)],
	orphan: [
		MODE.greets | MODE.sendsPieces,
		start(1, "f", { orphanMs: 30 }),
		start(2, "s", { orphanMs: 20, attach: false }),
		start(3, "s2", { timeoutMs: 30 }),
		detach(1),
		list(5),
		attach(4, "f", { hold: true, credit: 99 }),
	],
	tunnel: [
		MODE.greets,
		files(1, 6000),
		tunnelWrite(1, 3000),
		tunnelCredit(1, 999),
		frame(REQUEST.tunnelWriteEnd, 1),
		files(2, 10),
		tunnelWrite(2, 50),
		frame(REQUEST.tunnelClose, 2),
	],
	hello: [0, hello(PROTOCOL_VERSION), list(1)],
	"hello-old": [0, hello(1), list(1)],
	"no-hello": [0, list(1)],
	huge: [MODE.greets, Buffer.alloc(9, 255)],
};

/** By file name. */
export const FRAMES_CORPUS: Readonly<Record<string, Buffer>> = Object.fromEntries(
	Object.entries(CONVERSATIONS).map(([name, [mode, ...frames]]) => [
		name,
		Buffer.concat([Buffer.from([mode]), ...frames]),
	]),
);

if (process.argv[1] === import.meta.filename) {
	for (const [name, input] of Object.entries(FRAMES_CORPUS))
		writeFileSync(join(FRAMES_CORPUS_FOLDER, name), input);
}
