import assert from "node:assert/strict";
import { it } from "node:test";
import { parseSignal, signalName } from "./signals.ts";

it("signals of two names are told by the usual one, and those without a name by their number", () => {
	assert.deepEqual([6, 9, 29, 34].map(signalName), ["SIGABRT", "SIGKILL", "SIGIO", "SIG34"]);
});

it("a signal is named with or without SIG, and nothing else is one", () => {
	assert.deepEqual([parseSignal("SIGTERM"), parseSignal("TERM")], [15, 15]);
	for (const name of ["", "15", "sigterm", "SIGNOPE", "toString"]) {
		assert.throws(() => parseSignal(name), { code: "invalid_argument" }, name);
	}
});
