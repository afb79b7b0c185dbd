/** The agent's end of a connection, played by a test, and the frames that it may send. */
import { duplexPair } from "node:stream";
import { AgentConnection, type OpenOptions } from "../connection.ts";
import { FrameDecoder, FrameWriter, PROTOCOL_VERSION, REPLY, REQUEST } from "../frames.ts";

export class FakeAgent {
	readonly requests: { type: number; channel: number; payload: Buffer }[] = [];
	readonly #stream;
	#arrived = Promise.withResolvers<void>();

	constructor(stream: ReturnType<typeof duplexPair>[0]) {
		this.#stream = stream;
		const decoder = new FrameDecoder();
		stream.on("error", () => {});
		stream.on("data", (chunk: Buffer) => {
			for (const { type, channel, payload } of decoder.decode(chunk)) {
				this.requests.push({ type, channel, payload: Buffer.from(payload.takeRest()) });
			}
			this.#arrived.resolve();
		});
	}

	sendBytes(bytes: Buffer): void {
		this.#stream.write(bytes);
	}

	end(): void {
		this.#stream.end();
	}

	/** The next request of this type, in order of arrival. */
	async receive(type: number) {
		for (;;) {
			const index = this.requests.findIndex((request) => request.type === type);
			const [request] = index < 0 ? [] : this.requests.splice(index, 1);
			if (request) return request;
			this.#arrived = Promise.withResolvers();
			await this.#arrived.promise;
		}
	}
}

// One FrameWriter at a time: each is finished before the next is begun.
export const frame = (
	type: number,
	channel: number,
	fill: (frame: FrameWriter) => FrameWriter = (empty) => empty,
): Buffer => fill(new FrameWriter(type, channel)).finish();
export const hello = (version: number = PROTOCOL_VERSION) =>
	frame(REPLY.hello, 0, (f) => f.u16(version).u32(65_536).text("build", "fake"));
export const started = (channel: number) => frame(REPLY.started, channel, (f) => f.u32(42).u64(0).u64(0));
export const output = (channel: number, offset: number, data: string) =>
	frame(REPLY.output, channel, (f) => f.u8(1).u64(offset).bytes(Buffer.from(data)));
export const exit = (channel: number, stdoutEnd: number, status = 0) =>
	frame(REPLY.exit, channel, (f) => f.u32(status).u8(0).u64(1500).u64(500).u64(1000).u64(stdoutEnd).u64(0));
export const stdinCredit = (channel: number, bytes: number) =>
	frame(REPLY.stdinCredit, channel, (f) => f.u32(bytes));
export const refusal = (channel: number, errno: number) =>
	frame(REPLY.error, channel, (f) => f.u32(errno).text("message", "no"));

const opened: AgentConnection[] = [];

/** After each test. */
export function closeConnections(): void {
	for (const connection of opened.splice(0)) connection.close();
}

/** A greeted connection and its other end. */
export async function open(options: OpenOptions = {}) {
	const [ours, theirs] = duplexPair();
	const agent = new FakeAgent(theirs);
	const connection = AgentConnection.open(ours, options);
	await agent.receive(REQUEST.hello);
	agent.sendBytes(hello());
	await connection.greeted;
	opened.push(connection);
	return { agent, connection };
}

/** The same with a process that has started; with stdin, 10 bytes of it may be sent. */
export async function openWithProcess(spec: { windowBytes?: number; stdin?: boolean } = {}) {
	const { agent, connection } = await open();
	const starting = connection.start({ id: "p", argv: ["true"], ...spec });
	const { channel } = await agent.receive(REQUEST.start);
	if (spec.stdin) agent.sendBytes(stdinCredit(channel, 10));
	agent.sendBytes(started(channel));
	return { agent, connection, channel, running: await starting };
}
