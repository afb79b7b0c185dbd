import assert from "node:assert/strict";
import { it } from "node:test";
import { momentIn } from "../linux/clock.ts";
import { Activity } from "./activity.ts";
import { FakeClock } from "./testing/fake-core.ts";

it("a sandbox that is held is not idle, and its idle time begins when it is let go and used", () => {
	const clock = new FakeClock();
	const activity = new Activity(clock, { idleTimeoutMs: 60_000, last: null });
	const release = activity.hold();
	clock.pass(600_000);
	assert.equal(activity.msLeft(), 60_000);
	activity.touch();
	release();
	clock.pass(20_000);
	assert.equal(activity.msLeft(), 40_000);
});

it("holds are counted", () => {
	const activity = new Activity(new FakeClock(), { idleTimeoutMs: 1, last: null });
	const releases = [activity.hold(), activity.hold()];
	releases[0]?.();
	assert.ok(activity.isHeld);
	releases[1]?.();
	assert.ok(!activity.isHeld);
});

it("a use is worth writing down every ten seconds", () => {
	const clock = new FakeClock();
	const activity = new Activity(clock, { idleTimeoutMs: 60_000, last: null });
	const worth: boolean[] = [];
	for (let second = 0; second < 30; second++) {
		clock.pass(1_000);
		worth.push(activity.touch());
		if (worth.at(-1)) assert.deepEqual(activity.takeUnsaved(), momentIn(clock, 0));
	}
	assert.equal(worth.filter(Boolean).length, 3);
	assert.equal(activity.takeUnsaved(), undefined);
});

it("without an idle time nothing is noted", () => {
	const clock = new FakeClock();
	const activity = new Activity(clock, { idleTimeoutMs: null, last: null });
	clock.pass(100_000);
	assert.equal(activity.touch(), false);
	assert.equal(activity.msLeft(), undefined);
	assert.equal(activity.takeUnsaved(), undefined);
});

it("after a restart clients have a minute to come back, and no more than the idle time", () => {
	const clock = new FakeClock();
	for (const [idleTimeoutMs, agoMs, leftMs] of [
		[600_000, 100_000, 500_000],
		[600_000, 590_000, 60_000],
		[600_000, 9_000_000, 60_000],
		[30_000, 9_000_000, 30_000],
		[600_000, -50_000, 600_000],
	] as const) {
		const activity = new Activity(clock, { idleTimeoutMs, last: momentIn(clock, -agoMs) });
		assert.equal(activity.msLeft(), leftMs, `idle ${idleTimeoutMs}, used ${agoMs} ago`);
	}
});
