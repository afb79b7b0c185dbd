import assert from "node:assert/strict";
import { it } from "node:test";
import { type Clock, momentIn, msUntil, openClock, toIsoTime } from "./clock.ts";

function clockAt(over: {
	readonly bootId?: string;
	readonly uptimeMs: number;
	readonly wallMs: number;
}): Clock {
	return { bootId: over.bootId ?? "a", uptimeMs: () => over.uptimeMs, wallMs: () => over.wallMs };
}

it("the host's clock knows its boot and counts on", async () => {
	const clock = openClock();
	assert.match(clock.bootId, /^[0-9a-f-]{36}$/);
	const before = clock.uptimeMs();
	await new Promise((resolve) => setTimeout(resolve, 30));
	const passed = clock.uptimeMs() - before;
	assert.ok(passed >= 20 && passed < 5_000, `${passed}`);
});

it("a moment comes at its time, however the host's clock is set meanwhile", () => {
	const moment = momentIn(clockAt({ uptimeMs: 1_000, wallMs: 50_000 }), 600);
	assert.equal(msUntil(clockAt({ uptimeMs: 1_100, wallMs: 50_100 }), moment), 500);
	assert.equal(msUntil(clockAt({ uptimeMs: 1_100, wallMs: 7 }), moment), 500);
	assert.equal(msUntil(clockAt({ uptimeMs: 1_700, wallMs: 99_999_999 }), moment), -100);
});

it("in another boot only the host's clock is left to go by", () => {
	const moment = momentIn(clockAt({ uptimeMs: 1_000, wallMs: 50_000 }), 600);
	assert.equal(msUntil(clockAt({ bootId: "b", uptimeMs: 5, wallMs: 50_500 }), moment), 100);
});

it("a moment is told by the clock of now, and stays the same while that only goes on", () => {
	const moment = momentIn(clockAt({ uptimeMs: 0, wallMs: 0 }), 5_000);
	assert.equal(toIsoTime(clockAt({ uptimeMs: 1_004, wallMs: 1_000 }), moment), "1970-01-01T00:00:05.000Z");
	assert.equal(toIsoTime(clockAt({ uptimeMs: 1_000, wallMs: 61_000 }), moment), "1970-01-01T00:01:05.000Z");
});
