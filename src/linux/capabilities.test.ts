import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import {
	CAPABILITY_NAMES,
	DEFAULT_CAPABILITIES,
	findCapability,
	fromMask,
	toCapabilityMasks,
	toMask,
} from "./capabilities.ts";

const HEADER = "/usr/include/linux/capability.h";

test("every capability of the kernel's header has the same bit here", {
	skip: existsSync(HEADER) ? false : `${HEADER} is not installed`,
}, () => {
	const declared = [...readFileSync(HEADER, "utf8").matchAll(/^#define (CAP_[A-Z_]+)\s+(\d+)$/gm)];
	assert.ok(declared.length >= 41);
	for (const [, name, bit] of declared) assert.equal(CAPABILITY_NAMES[Number(bit)], name);
});

test("names become bits and bits become names", () => {
	assert.equal(toMask(["CAP_CHOWN", "cap_sys_admin", "checkpoint_restore"]), 0x10000200001n);
	assert.deepEqual(fromMask(0x10000200001n), ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]);
	assert.deepEqual(fromMask(toMask(DEFAULT_CAPABILITIES)), [...DEFAULT_CAPABILITIES].sort(byBit));
});

test("an unknown name is refused", () => {
	assert.equal(findCapability("CAP_EVERYTHING"), undefined);
	assert.throws(() => toMask(["CAP_EVERYTHING"]), { code: "invalid_argument" });
});

test("the default set is Podman's, and leaves inheritable and ambient empty", () => {
	const mask = 0x800405fbn;
	assert.deepEqual(toCapabilityMasks(DEFAULT_CAPABILITIES), {
		bounding: mask,
		effective: mask,
		permitted: mask,
		inheritable: 0n,
		ambient: 0n,
	});
});

function byBit(a: (typeof CAPABILITY_NAMES)[number], b: (typeof CAPABILITY_NAMES)[number]): number {
	return CAPABILITY_NAMES.indexOf(a) - CAPABILITY_NAMES.indexOf(b);
}
