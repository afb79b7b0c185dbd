import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import {
	checkRlimit,
	findRlimit,
	parseRlimitAuthority,
	type RlimitAuthority,
	readRlimitAuthority,
	rlimitNumber,
} from "./rlimits.ts";

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max core file size        0                    0                    bytes
Max open files            1024                 20000                files
`;

test("hard limits and CAP_SYS_RESOURCE are read from /proc", () => {
	assert.deepEqual(parseRlimitAuthority(LIMITS, "CapEff:\t000001fffeffffff\n"), {
		hard: { cpu: "unlimited", core: 0, nofile: 20000 },
		canRaise: false,
	});
	assert.equal(parseRlimitAuthority(LIMITS, "CapEff:\t000001ffffffffff\n").canRaise, true);
});

test("every limit of this kernel has a name here", () => {
	const lines = readFileSync("/proc/self/limits", "utf8").trim().split("\n").length - 1;
	assert.equal(Object.keys(readRlimitAuthority().hard).length, lines);
});

test("names are found in each of their forms", () => {
	assert.equal(findRlimit("RLIMIT_NOFILE"), "nofile");
	assert.equal(findRlimit("nofile"), "nofile");
	assert.equal(findRlimit("toString"), undefined);
	assert.equal(rlimitNumber("nofile"), 7);
});

test("a hard limit above this process's own is refused with the reason, unless it may raise it", () => {
	const bound: RlimitAuthority = { hard: { nofile: 20000, core: 0 }, canRaise: false };
	checkRlimit({ resource: "nofile", soft: 1024, hard: 20000 }, bound);
	checkRlimit({ resource: "cpu", soft: "unlimited", hard: "unlimited" }, bound);
	checkRlimit({ resource: "nofile", soft: 1024, hard: 30000 }, { ...bound, canRaise: true });
	assert.throws(() => checkRlimit({ resource: "nofile", soft: 1024, hard: 20001 }, bound), {
		code: "unsupported",
		message: /20001.*20000 at most/,
	});
	assert.throws(() => checkRlimit({ resource: "core", soft: 0, hard: "unlimited" }, bound), {
		code: "unsupported",
	});
});

test("a soft limit above the hard one and impossible values are refused", () => {
	const free: RlimitAuthority = { hard: {}, canRaise: true };
	for (const [soft, hard] of [
		[2, 1],
		["unlimited", 1],
		[-1, 1],
		[1, 1.5],
	] as const) {
		assert.throws(() => checkRlimit({ resource: "nofile", soft, hard }, free), { code: "invalid_argument" });
	}
});
