/**
 * A meeting of the daemon's side of the protocol, with everything outstanding that there can be, and an agent that sends
 * whatever bytes it likes. The meeting must end: every wait settles, readers hold no more than their windows, and nothing
 * is thrown where nobody catches it.
 */
import assert from "node:assert/strict";
import { type Duplex, duplexPair } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { AgentError } from "../../src/agent/agent-error.ts";
import { AgentConnection } from "../../src/agent/connection.ts";
import { type FileOperation, FileOperationError, openFileOperation } from "../../src/agent/files.ts";
import type { AgentProcess } from "../../src/agent/process.ts";
import { ShaleError } from "../../src/lib/errors.ts";
import { toProcessInfo } from "../../src/sandbox/processes.ts";

/**
 * The first byte of an input. `hangsUp`: the agent ends the stream after the last byte, else the daemon does.
 * `isUnread`: nobody reads the output before that.
 */
export const MODE = { hangsUp: 1, isUnread: 2 } as const;

/** The channels on which the meeting waits, in the order of its requests; 12 is opened by whoever writes to "quiet". */
export const CHANNEL = {
	start: 1,
	startDetached: 2,
	attachHolding: 3,
	attach: 4,
	list: 5,
	signal: 6,
	resize: 7,
	forget: 8,
	read: 9,
	watch: 10,
	write: 11,
	stdin: 12,
} as const;

const WINDOW_BYTES = 4096;
const SETTLE_MS = 2_000;
/** Much longer: what a timeout has to end, something else has forgotten. */
const TIMEOUT_MS = 60_000;

/** @param input the mode, the size of the pieces in which the rest comes (0: whole), the agent's bytes. */
export async function meet(input: Uint8Array): Promise<string> {
	const [mode = 0, pieceBytes = 0] = input;
	const [ours, theirs] = duplexPair();
	theirs.on("error", () => undefined);
	theirs.resume();
	const connection = AgentConnection.open(ours, { timeoutMs: TIMEOUT_MS, requestTimeoutMs: TIMEOUT_MS });
	const waits = new Waits();
	begin(connection, waits, (mode & MODE.isUnread) !== 0);
	await send(theirs, Buffer.from(input.subarray(2)), pieceBytes);
	if (mode & MODE.hangsUp) theirs.end();
	else connection.close();
	waits.add("closed", connection.closed);
	const outcome = await waits.settle();
	theirs.destroy();
	return outcome;
}

async function send(stream: Duplex, bytes: Buffer, pieceBytes: number): Promise<void> {
	const size = pieceBytes || bytes.length;
	for (let at = 0; at < bytes.length && !stream.destroyed; at += size) {
		stream.write(bytes.subarray(at, at + size));
		if (pieceBytes > 0) await new Promise(setImmediate);
	}
	for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
}

/** What the meeting waits for, by name. */
class Waits {
	readonly #outcomes = new Map<string, string>();
	readonly #pending = new Map<string, Promise<unknown>>();

	add(name: string, wait: Promise<unknown>): void {
		const settled = wait.then(
			(value) => (name === "closed" ? toWords(value) : "done"),
			(error: unknown) => toWords(error),
		);
		this.#pending.set(
			name,
			settled.then((words) => this.#outcomes.set(name, words)),
		);
	}

	/** How each has ended; two inputs of the same outcome are much the same to the daemon. */
	async settle(): Promise<string> {
		const deadline = new AbortController();
		const late = sleep(SETTLE_MS, "late", { signal: deadline.signal }).catch(() => "late");
		while (this.#outcomes.size < this.#pending.size) {
			const all = Promise.all(this.#pending.values()).then(() => "settled");
			if ((await Promise.race([all, late])) === "late") break;
		}
		deadline.abort();
		const missing = [...this.#pending.keys()].filter((name) => !this.#outcomes.has(name));
		assert.deepEqual(missing, [], "these never settled");
		return [...this.#outcomes]
			.map(([name, words]) => `${name}: ${words}`)
			.sort()
			.join("\n");
	}
}

/** Numbers do not make outcomes different. Errors of other kinds are defects. */
function toWords(value: unknown): string {
	if (value === undefined) return "nothing";
	const isExpected =
		value instanceof AgentError || value instanceof ShaleError || value instanceof FileOperationError;
	assert.ok(isExpected, value instanceof Error ? value.stack : String(value));
	assert.ok(!(value.cause instanceof TypeError || value.cause instanceof RangeError), String(value.cause));
	return value.message.replaceAll(/\d+/g, "N").slice(0, 200);
}

function begin(connection: AgentConnection, waits: Waits, isUnread: boolean): void {
	const env = { PATH: "/bin" };
	const argv = ["cat"];
	const options = { windowBytes: WINDOW_BYTES };
	waits.add("greeted", connection.greeted);
	const reads = (name: string, starting: Promise<AgentProcess>) => {
		const reading = starting.then((process) => readAll(process, isUnread ? connection.closed : undefined));
		waits.add(name, reading);
		waits.add(
			`${name} exit`,
			starting.then((process) => process.exited),
		);
	};
	const started = connection.start({ id: "main", argv, env, stdin: true, orphanMs: 1, ...options });
	reads("start", started);
	waits.add("start detached", connection.start({ id: "other", argv, env, attach: false }));
	reads("attach holding", connection.attach("main", { hold: true, ...options }));
	reads("attach", connection.attach("other", { stdoutOffset: 5, ...options }));
	waits.add(
		"list",
		connection.list().then((all) => all.map(toProcessInfo)),
	);
	waits.add("signal", connection.signal("main", 15, "group"));
	waits.add("resize", connection.resize("main", { columns: 80, rows: 24 }));
	waits.add("forget", connection.forget("other"));
	const path = "/x";
	const user = "";
	waits.add(
		"read",
		readFile(openFileOperation(connection, { operation: "list", path, depth: 1, limit: 9 }, { user })),
	);
	waits.add(
		"watch",
		readFile(openFileOperation(connection, { operation: "watch", path, recursive: true }, { user })),
	);
	const writing = { operation: "write", path, mode: 0o600, parents: false, overwrite: true } as const;
	waits.add("write", writeFile(openFileOperation(connection, writing, { user })));
	waits.add("stdin", connection.writeStdin("quiet", Buffer.alloc(100_000)));
	waits.add("stdin close", connection.closeStdin("quiet"));
	waits.add(
		"start stdin",
		started.then((process) => connection.writeStdin(process.id, Buffer.alloc(100_000))),
	);
}

/** Gives the window back as it reads; whoever waits before finds no more than the window. */
async function readAll(process: AgentProcess, until: Promise<unknown> | undefined): Promise<void> {
	await until;
	let bytes = 0;
	try {
		for await (const { data, offset } of process.output()) {
			bytes += data.length;
			assert.ok(offset >= 0 && data.length > 0);
		}
	} finally {
		if (until) assert.ok(bytes <= WINDOW_BYTES, `${bytes} bytes were held for one reader`);
	}
}

async function readFile(operation: FileOperation): Promise<void> {
	while (await operation.next());
}

async function writeFile(operation: FileOperation): Promise<void> {
	const source = async function* () {
		for (let i = 0; i < 8; i++) yield Buffer.alloc(100_000);
	};
	await Promise.all([operation.send(source()), readFile(operation)]);
}
