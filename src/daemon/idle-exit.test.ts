import assert from "node:assert/strict";
import { it, mock } from "node:test";
import { startIdleExit } from "./idle-exit.ts";

it("an idle daemon stops only after a whole period without use and without sandboxes", () => {
	mock.timers.enable({ apis: ["setTimeout"] });
	let busy = false;
	const stop = mock.fn();
	const idle = startIdleExit({ afterMs: 1000, isBusy: () => busy, stop });
	mock.timers.tick(900);
	idle.touch();
	mock.timers.tick(900);
	assert.equal(stop.mock.callCount(), 0, "a request starts the period again");
	busy = true;
	mock.timers.tick(1000);
	assert.equal(stop.mock.callCount(), 0, "a sandbox keeps it");
	busy = false;
	mock.timers.tick(1000);
	assert.equal(stop.mock.callCount(), 1);
	mock.timers.reset();
});
