import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import { SYSCALL_NUMBERS } from "./syscalls.ts";

const HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

test("every system call of the C library's header has the same number here", {
	skip: existsSync(HEADER) ? false : `${HEADER} is not installed`,
}, () => {
	const declared = [...readFileSync(HEADER, "utf8").matchAll(/#define __NR_(\w+) (\d+)/g)];
	assert.ok(declared.length > 300);
	for (const [, name = "", number] of declared) {
		assert.equal(SYSCALL_NUMBERS.get(name), Number(number), name);
	}
});

test("no number and no name is listed twice", () => {
	assert.equal(new Set(SYSCALL_NUMBERS.values()).size, SYSCALL_NUMBERS.size);
	assert.equal(SYSCALL_NUMBERS.size, 337 + 48);
});
