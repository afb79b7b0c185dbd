import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { REPLY, REQUEST } from "./frames.ts";
import {
	closeConnections,
	exit,
	frame,
	open,
	openWithProcess,
	refusal,
	stdinCredit,
} from "./testing/fake-agent.ts";

afterEach(closeConnections);

test("stdin is sent within the agent's credit and closed after what was written", async () => {
	const { agent, connection, channel, running } = await openWithProcess({ stdin: true });
	const written = connection.writeStdin(running.id, Buffer.from("twelve bytes"));
	const closed = connection.closeStdin(running.id);
	assert.equal((await agent.receive(REQUEST.stdin)).payload.toString(), "twelve byt");
	assert.equal(agent.requests.length, 0);
	agent.sendBytes(frame(REPLY.stdinCredit, channel, (f) => f.u32(100)));
	assert.equal((await agent.receive(REQUEST.stdin)).payload.toString(), "es");
	await agent.receive(REQUEST.stdinClose);
	await Promise.all([written, closed]);
});

test("a writer that waits for credit is told when the process exits", async () => {
	const { agent, connection, channel, running } = await openWithProcess({ stdin: true });
	const written = connection.writeStdin(running.id, Buffer.alloc(1000));
	agent.sendBytes(exit(channel, 0));
	await assert.rejects(written, { errnoName: "EPIPE" });
	assert.equal((await running.exited).exitCode, 0);
});

test("whoever writes without having started the process opens one channel for all, and writes in turn", async () => {
	const { agent, connection } = await open();
	const writes = ["one ", "two "].map((text) => connection.writeStdin("p", Buffer.from(text)));
	const { channel, payload } = await agent.receive(REQUEST.stdinOpen);
	assert.equal(payload.subarray(4).toString(), "p");
	agent.sendBytes(stdinCredit(channel, 0));
	agent.sendBytes(stdinCredit(channel, 6));
	assert.equal((await agent.receive(REQUEST.stdin)).payload.toString(), "one ");
	assert.equal((await agent.receive(REQUEST.stdin)).payload.toString(), "tw");
	agent.sendBytes(stdinCredit(channel, 100));
	assert.equal((await agent.receive(REQUEST.stdin)).payload.toString(), "o ");
	await Promise.all(writes);
	const closed = connection.closeStdin("p");
	assert.equal((await agent.receive(REQUEST.stdinClose)).channel, channel);
	await closed;
	assert.equal(agent.requests.length, 0);
	agent.sendBytes(refusal(channel, 32));
	const late = connection.writeStdin("p", Buffer.from("x"));
	agent.sendBytes(refusal((await agent.receive(REQUEST.stdinOpen)).channel, 32));
	await assert.rejects(late, { errnoName: "EPIPE" });
});

test("a stdin that cannot be opened fails all that wait for it, and closing a closed one is no error", async () => {
	const { agent, connection } = await open({ requestTimeoutMs: 20 });
	for (const [errno, errnoName] of [
		[2, "ENOENT"],
		[32, "EPIPE"],
	] as const) {
		const writes = ["a", "b"].map((text) => connection.writeStdin("p", Buffer.from(text)));
		agent.sendBytes(refusal((await agent.receive(REQUEST.stdinOpen)).channel, errno));
		for (const write of writes) await assert.rejects(write, { errnoName });
	}
	const closed = connection.closeStdin("p");
	agent.sendBytes(refusal((await agent.receive(REQUEST.stdinOpen)).channel, 32));
	await closed;
	const unanswered = connection.writeStdin("p", Buffer.from("x"));
	await assert.rejects(unanswered, { errnoName: "ETIMEDOUT" });
	const { channel } = await agent.receive(REQUEST.detach);
	agent.sendBytes(Buffer.concat([stdinCredit(channel, 5), frame(REPLY.ok, channel)]));
	const listed = connection.list();
	agent.sendBytes(frame(REPLY.done, (await agent.receive(REQUEST.list)).channel));
	await listed;
});

test("a chunk is written to its end when the reader whose channel it went through has left", async () => {
	const { agent, connection, running } = await openWithProcess({ stdin: true });
	const written = connection.writeStdin(running.id, Buffer.from("twelve bytes"));
	assert.equal((await agent.receive(REQUEST.stdin)).payload.toString(), "twelve byt");
	running.detach();
	await agent.receive(REQUEST.detach);
	const { channel } = await agent.receive(REQUEST.stdinOpen);
	agent.sendBytes(stdinCredit(channel, 2));
	assert.equal((await agent.receive(REQUEST.stdin)).payload.toString(), "es");
	await written;
});

test("a stdin that is over is told on the channel of the start by a credit of 0", async () => {
	const { agent, connection, channel, running } = await openWithProcess({ stdin: true });
	const written = connection.writeStdin(running.id, Buffer.alloc(1000));
	agent.sendBytes(stdinCredit(channel, 0));
	await assert.rejects(written, { errnoName: "EPIPE" });
	agent.sendBytes(exit(channel, 0));
	await running.exited;
});

test("writers fail with the connection", async () => {
	const { agent, connection } = await open();
	const waiting = connection.writeStdin("p", Buffer.from("x"));
	await agent.receive(REQUEST.stdinOpen);
	connection.close();
	await assert.rejects(waiting, /closed here/);
	await assert.rejects(connection.writeStdin("p", Buffer.from("x")), /closed here/);
});
