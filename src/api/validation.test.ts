import assert from "node:assert/strict";
import { test } from "node:test";
import type { z } from "zod";
import { ShaleError } from "../lib/errors.ts";
import { execRequest, interactiveMessage, signalRequest } from "./schemas/processes.ts";
import { createSandbox, listSandboxes } from "./schemas/sandboxes.ts";
import { parseInput } from "./validation.ts";

/** The message of the refusal. */
function refusal(schema: z.ZodType, value: unknown): string {
	try {
		parseInput(schema, value);
	} catch (error) {
		assert.ok(error instanceof ShaleError);
		assert.equal(error.code, "invalid_argument");
		return error.message;
	}
	assert.fail(`accepted ${JSON.stringify(value)}`);
}

const argv = ["true"];

test("refusals of a create name the field and the rule", () => {
	const cases: readonly (readonly [value: unknown, message: string | RegExp])[] = [
		[{ limits: { memoryMiB: 4 } }, "limits.memoryMiB: must be at least 16"],
		[{ limits: { memoryMiB: 0 } }, "limits.memoryMiB: must be at least 16"],
		[{ limits: { processes: -1 } }, "limits.processes: must be at least 4"],
		[{ limits: { cpuMillis: 1.5 } }, "limits.cpuMillis: must be a whole number"],
		[{ limits: { diskMiB: "64" } }, "limits.diskMiB: must be a number"],
		[{ limits: { cpus: 1 } }, /^limits: unknown field "cpus"; known fields are cpuMillis, memoryMiB,/],
		[{ image: "debian" }, /^unknown field "image"; known fields are id, name, layers,/],
		[{ id: "../x" }, /^id: must be 1 to 64 lower-case letters/],
		[{ id: "a/b" }, /^id: must be/],
		[{ id: "a".repeat(65) }, /^id: must be/],
		[{ name: "x".repeat(64) }, /^name: must be 1 to 63/],
		[{ layers: [] }, "layers: must have at least 1 element"],
		[{ layers: ["../../etc"] }, /^layers\[0\]: must be three digits/],
		[{ env: { "1A": "x" } }, /^env\["1A"\]: the name must be letters/],
		[{ env: { A: "x\0y" } }, "env.A: must not contain a NUL byte"],
		[{ env: { A: 1 } }, "env.A: must be a string"],
		[{ workdir: "tmp" }, /^workdir: must be an absolute path/],
		[{ workdir: "/a/../b" }, "workdir: must not contain .."],
		[{ workdir: "/a\0" }, "workdir: must not contain a NUL byte"],
		[{ user: "root; id" }, /^user: must be a user name/],
		[{ labels: { "a=b": "c" } }, /^labels\["a=b"\]: the name must be 1 to 63/],
		[{ labels: { a: "x".repeat(300) } }, "labels.a: must have at most 256 bytes in UTF-8"],
		[{ upper: "nfs" }, "upper: must be one of tmpfs, disk"],
		[{ network: "host" }, "network: must be none"],
		[{ hostname: "a b" }, /^hostname: must be/],
		[[], "must be an object"],
		[null, "must be an object"],
	];
	for (const [value, message] of cases) {
		const told = refusal(createSandbox, value);
		if (typeof message === "string") assert.equal(told, message);
		else assert.match(told, message);
	}
});

test("refusals of an exec name the field and the rule", () => {
	const cases: readonly (readonly [value: unknown, message: string | RegExp])[] = [
		[{}, "argv: is required"],
		[{ argv: [] }, "argv: must have at least 1 element, the program"],
		[{ argv: [""] }, "argv[0]: must not be empty: it is the program"],
		[{ argv: Array.from({ length: 1025 }, () => "x") }, "argv: must have at most 1024 elements"],
		[{ argv: ["a", "b\0c"] }, "argv[1]: must not contain a NUL byte"],
		[{ argv: ["a", "\ud800"] }, /^argv\[1\]: must be well-formed Unicode/],
		[{ argv: "true" }, "argv: must be a list"],
		[{ argv, timeoutMs: 0 }, "timeoutMs: must be at least 1"],
		[{ argv, timeoutMs: 2 ** 32 }, "timeoutMs: must be at most 4294967295"],
		[{ argv, maxOutputBytes: 2 ** 30 }, "maxOutputBytes: must be at most 16777216"],
		[{ argv, stdinBase64: "a" }, "stdinBase64: must be base64 with padding (RFC 4648 §4)"],
		[{ argv, stdin: "", stdinBase64: "" }, "stdinBase64: must not be given together with stdin"],
		[{ argv, terminal: {} }, /^unknown field "terminal"/],
	];
	for (const [value, message] of cases) {
		const told = refusal(execRequest, value);
		if (typeof message === "string") assert.equal(told, message);
		else assert.match(told, message);
	}
});

test("signals go by name, with and without SIG", () => {
	for (const signal of ["SIGTERM", "TERM", "USR1"]) parseInput(signalRequest, { signal });
	for (const signal of ["", "9", "SIGSIG", "sigterm", "TERM\n"]) {
		assert.match(refusal(signalRequest, { signal }), /^signal: must be the name of a signal/);
	}
	assert.match(refusal(signalRequest, { signal: 9 }), /^signal: must be a string/);
});

test("a message of an unknown type is told the known ones", () => {
	assert.equal(
		refusal(interactiveMessage, { type: "x" }),
		"type: must be one of stdin_close, resize, signal",
	);
	assert.match(
		refusal(interactiveMessage, { type: "resize", columns: 0, rows: 1 }),
		/^columns: must be at least 1/,
	);
});

test("queries are read from text and refused as fields are", () => {
	assert.deepEqual(parseInput(listSandboxes, { limit: "5", label: ["a=b"] }), { limit: 5, label: ["a=b"] });
	assert.equal(refusal(listSandboxes, { limit: "0" }), "limit: must be at least 1");
	assert.equal(refusal(listSandboxes, { limit: "1e2" }), "limit: must be a whole number");
	assert.equal(refusal(listSandboxes, { label: ["a"] }), "label[0]: must be key=value");
});

test("all problems are listed for programs", () => {
	try {
		parseInput(createSandbox, { id: "A", upper: "x" });
		assert.fail("accepted");
	} catch (error) {
		assert.ok(error instanceof ShaleError);
		assert.equal(error.details?.field, "id");
		assert.equal((error.details?.problems as string[] | undefined)?.length, 2);
	}
});

test("what is right passes unchanged", () => {
	const request = {
		id: "my-box",
		name: "web.1",
		layers: ["000-base-debian", "100-python3"],
		env: { PATH: "/bin", _x: "ü" },
		user: "1000:1000",
		workdir: "/srv/..data",
		labels: { "team/x": "a b" },
		limits: { memoryMiB: 64, swapMiB: 0 },
		upper: "disk",
		network: "none",
	};
	assert.deepEqual(parseInput(createSandbox, request), request);
});
