/** Over a jailer that is a script and dies when it is told to: what is lost, and what is not. */
import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { writeScriptedJailer } from "../../test/support/scripted-jailer.ts";
import type { JailerExit } from "./jailer.ts";
import { op, type Plan } from "./plan.ts";
import { ResidentJailer, type ResidentJailerOptions } from "./resident-jailer.ts";

/**
 * A plan with `hostname die` kills the jailer. Any other one makes a child whose pid is the number of its
 * operations; a WATCH succeeds while a file of that pid is there.
 */
const HANDLE = `({ type, payload }, id, reply) => {
	const fs = require("node:fs"), path = require("node:path");
	if (payload.includes("die")) process.kill(process.pid, "SIGKILL");
	const missing = Buffer.concat([u32(0, 0, 3), Buffer.of(0), Buffer.from("\\0gone\\0")]);
	const exited = (pid) => reply(0, 3, Buffer.concat([u32(pid, 9), Buffer.alloc(24), Buffer.of(1)]));
	if (type === 1) ok(id, payload.readUInt32LE(8));
	else if (type === 2) { ok(id, payload.readUInt32LE(0)); exited(payload.readUInt32LE(0)); }
	else if (fs.existsSync(path.join(path.dirname(process.argv[1]), String(payload.readUInt32LE(0)))))
		ok(id, payload.readUInt32LE(0));
	else reply(id, 2, missing);
}`;

const DIE: Plan = [op.hostname("die")];

async function start(context: TestContext, over: Partial<ResidentJailerOptions> = {}) {
	const options = writeScriptedJailer(context, HANDLE);
	const deaths: string[] = [];
	const jailer = await ResidentJailer.start({
		...options,
		...over,
		onDeath: ({ message }) => deaths.push(message),
	});
	context.after(() => jailer.close());
	const alive = (hostPid: number) => join(options.runDir, String(hostPid));
	return {
		jailer,
		deaths,
		exits: collectExits(jailer),
		live: (hostPid: number) => writeFileSync(alive(hostPid), ""),
		die: (hostPid: number) => rmSync(alive(hostPid)),
		lives: (hostPid: number) => existsSync(alive(hostPid)),
	};
}

function collectExits(jailer: ResidentJailer) {
	return (hostPid: number): Promise<JailerExit> => new Promise((resolve) => jailer.onExit(hostPid, resolve));
}

/** A plan whose child is in a cgroup and has the pid `operations`. */
function childPlan(operations: number): Plan {
	const rest = Array<Plan[number]>(operations - 1).fill(op.rootBegin());
	return [op.clone(["mount"], { cgroup2: "/sys/fs/cgroup/x" }), ...rest];
}

test("a call under way fails, and the next one reaches a new jailer", async (context) => {
	const { jailer, deaths } = await start(context);
	const generations: number[] = [];
	jailer.onRestart(() => generations.push(jailer.generation));
	const calls = [jailer.run([op.guest()]), jailer.run(DIE), jailer.run([op.guest()])];
	const codes = (await Promise.allSettled(calls)).map((call) =>
		call.status === "fulfilled" ? "ok" : (call.reason as { code: string }).code,
	);
	assert.deepEqual(codes, ["ok", "unavailable", "unavailable"]);
	assert.deepEqual(await jailer.run([op.guest(), op.guest()]), { hostPid: 2, startTicks: 902 });
	assert.deepEqual(generations, [2]);
	assert.deepEqual(deaths, ["the jailer is gone (SIGKILL)"]);
});

test("whoever hears that a call failed finds the new jailer, and its generation, at once", async (context) => {
	const { jailer } = await start(context);
	const [, generation] = await Promise.all([
		assert.rejects(jailer.run(DIE), { code: "unavailable" }),
		jailer.run(DIE).catch(() => jailer.generation),
	]);
	assert.equal(generation, 2);
	assert.equal(await jailer.watch({ hostPid: 5, startTicks: 5 }, "/x"), false);
});

test("children are watched by the new jailer, and those that ended meanwhile are told", async (context) => {
	const { jailer, live, exits } = await start(context);
	const { hostPid: kept } = await jailer.run(childPlan(3));
	const { hostPid: lost } = await jailer.run(childPlan(4));
	const keptExit = exits(kept);
	const lostExit = exits(lost);
	live(kept);
	await assert.rejects(jailer.run(DIE), { code: "unavailable" });
	assert.equal((await lostExit).waitStatus, undefined);
	await jailer.kill(kept, 9);
	assert.equal((await keptExit).waitStatus, 9);
});

test("an adopted child is watched again as well", async (context) => {
	const { jailer, live, die, exits } = await start(context);
	live(7);
	assert.equal(await jailer.watch({ hostPid: 7, startTicks: 907 }, "/sys/fs/cgroup/x"), true);
	const exit = exits(7);
	await assert.rejects(jailer.run(DIE), { code: "unavailable" });
	die(7);
	await assert.rejects(jailer.run(DIE), { code: "unavailable" });
	assert.equal((await exit).waitStatus, undefined);
});

test("what may be repeated is done again, until a jailer lives long enough or there is none any more", async (context) => {
	const { jailer } = await start(context, { restartsPerMinute: 3 });
	let attempts = 0;
	const act = (deaths: number) => jailer.repeat(() => jailer.run(attempts++ < deaths ? DIE : []));
	assert.deepEqual(await act(2), { hostPid: 0, startTicks: 900 });
	assert.equal(attempts, 3);
	attempts = 0;
	await assert.rejects(act(10), { code: "unavailable" });
	assert.equal(attempts, 3, "two deaths, and the call that finds none");
	await assert.rejects(
		jailer.repeat(() => Promise.reject(new Error("another fault"))),
		/another fault/,
	);
});

test("one that dies all the time is given up, and every call says so", async (context) => {
	const { jailer, deaths } = await start(context, { restartsPerMinute: 2 });
	for (let death = 0; death < 3; death++) await assert.rejects(jailer.run(DIE), { code: "unavailable" });
	await jailer.closed;
	assert.equal(deaths.length, 3);
	await assert.rejects(jailer.run([]), { code: "unavailable", message: /SIGKILL.*not started again/ });
	await jailer.close();
});

test("closing ends it for good, also while it is being started again", async (context) => {
	const { jailer } = await start(context);
	void jailer.run(DIE).catch(() => undefined);
	await jailer.close();
	await jailer.close();
	await assert.rejects(jailer.run([]), { code: "unavailable" });
});
