/** The client against a jailer that is a script: what it makes of replies, of exits, and of a jailer that dies. */
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { writeScriptedJailer } from "../../test/support/scripted-jailer.ts";
import { Jailer, type JailerExit, PlanError } from "./jailer.ts";
import { op } from "./plan.ts";

async function startScripted(context: TestContext, handle: string, signal?: AbortSignal): Promise<Jailer> {
	const options = writeScriptedJailer(context, handle);
	const jailer = await Jailer.start(signal === undefined ? options : { ...options, signal });
	context.after(() => jailer.close());
	return jailer;
}

const EXITED = `Buffer.concat([u32(77, 0x0700), Buffer.from(BigUint64Array.of(1500n, 2500n, 640n).buffer), Buffer.of(1)])`;

test("a plan's reply is the child's pid", async (context) => {
	const jailer = await startScripted(context, `({ payload }, id) => ok(id, payload.readUInt32LE(8))`);
	assert.deepEqual(await jailer.run([op.guest(), op.guest()]), { hostPid: 2, startTicks: 902 });
});

test("a failed plan names operation, errno, phase and path", async (context) => {
	const handle = `(_, id) => reply(id, 2, Buffer.concat([
		u32(3, 34, 40), Buffer.of(2), Buffer.from("/proc\\0opening the target\\0")]))`;
	const jailer = await startScripted(context, handle);
	await assert.rejects(jailer.run([]), (error) => {
		assert.ok(error instanceof PlanError);
		assert.equal(error.message, "operation 3 (mount /proc): opening the target: ELOOP");
		const { opIndex, opName, errnoName, phase, path } = error;
		assert.deepEqual([opIndex, opName, errnoName, phase, path], [3, "mount", "ELOOP", "guest", "/proc"]);
		return true;
	});
});

test("replies are matched by request, and exits that come with them are not lost", async (context) => {
	const handle = `({ payload }, id) => {
		if (payload.readUInt32LE(8) === 1) return;
		ok(id, 77);
		reply(0, 3, ${EXITED});
		ok(id - 1, 1);
	}`;
	const jailer = await startScripted(context, handle);
	const first = jailer.run([op.guest()]);
	const { hostPid } = await jailer.run([]);
	assert.deepEqual(await first, { hostPid: 1, startTicks: 901 });
	const exit = await new Promise((resolve) => jailer.onExit(hostPid, resolve));
	assert.deepEqual(exit, {
		hostPid: 77,
		waitStatus: 0x0700,
		userTimeMs: 1.5,
		systemTimeMs: 2.5,
		maxRssKiB: 640,
	});
});

test("a listener that was taken back hears nothing", async (context) => {
	const handle = `(_, id) => { reply(0, 3, ${EXITED}); ok(id, 5); }`;
	const jailer = await startScripted(context, handle);
	const heard: string[] = [];
	const stop = jailer.onExit(77, () => heard.push("stopped"));
	jailer.onExit(77, () => heard.push("kept"));
	stop();
	await jailer.run([]);
	assert.deepEqual(heard, ["kept"]);
});

test("watch asks for pid, start and cgroup, and the end of such a child may be unknown", async (context) => {
	const handle = `({ type, payload }, id) => {
		const asked = [type, payload.readUInt32LE(0), payload.readBigUInt64LE(4), payload.toString("utf8", 12)].join();
		if (asked !== "3,77,4294967298,/sys/fs/cgroup/x\\0") throw new Error(asked);
		ok(id, 77);
		reply(0, 3, Buffer.concat([u32(77, 0xff00), Buffer.alloc(25)]));
	}`;
	const jailer = await startScripted(context, handle);
	assert.equal(await jailer.watch({ hostPid: 77, startTicks: 2 ** 32 + 2 }, "/sys/fs/cgroup/x"), true);
	const exit = await new Promise<JailerExit>((resolve) => jailer.onExit(77, resolve));
	assert.equal(exit.waitStatus, undefined);
});

test("kill takes a child that is gone for done, and passes on every other error", async (context) => {
	const handle = `({ payload }, id) => reply(id, 2, Buffer.concat([
		u32(0, 0, payload.readUInt32LE(4)), Buffer.of(0), Buffer.from("\\0why\\0")]))`;
	const jailer = await startScripted(context, handle);
	await jailer.kill(77, 3); // ESRCH
	await assert.rejects(jailer.kill(77, 22), { name: "PlanError", errnoName: "EINVAL", phase: "decode" });
});

test("when the jailer dies, pending and later calls fail with what it said", async (context) => {
	const handle = `() => process.stderr.write("jailer: no\\n", () => process.exit(125))`;
	const jailer = await startScripted(context, handle);
	const gone = { code: "unavailable", message: "the jailer is gone (exit code 125): jailer: no" };
	await assert.rejects(jailer.run([]), gone);
	await jailer.closed;
	await assert.rejects(jailer.run([]), { code: "unavailable" });
});

test("a reply of impossible length ends the jailer", async (context) => {
	const jailer = await startScripted(context, `(_, id) => socket.write(u32(0x7fffffff, id, 0))`);
	await assert.rejects(jailer.run([]), { code: "unavailable" });
});

test("a jailer that cannot be started is an error with the reason", async () => {
	const options = { jailerPath: "/nowhere/jailer", agentPath: "/agent", runDir: "/nowhere" };
	await assert.rejects(Jailer.start(options), { code: "unavailable", message: /ENOENT/ });
	const signal = AbortSignal.abort(new Error("given up"));
	await assert.rejects(Jailer.start({ ...options, signal }), /given up/);
});

test("a plan that cannot be encoded is refused without asking the jailer", async (context) => {
	const jailer = await startScripted(context, `() => process.exit(1)`);
	await assert.rejects(jailer.run([["hostname"]]), { code: "invalid_argument" });
});
