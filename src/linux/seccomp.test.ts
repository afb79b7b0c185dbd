import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { CAPABILITY_NAMES, type CapabilityName, DEFAULT_CAPABILITIES } from "./capabilities.ts";
import {
	type ArgumentCondition,
	compileSeccomp,
	intArgument,
	type SeccompAction,
	type SeccompProfile,
} from "./seccomp.ts";
import { DEFAULT_PROFILE } from "./seccomp-default.ts";
import { SYSCALL_NUMBERS } from "./syscalls.ts";

const X86_64 = 0xc000003e;
const NAMES = new Map([...SYSCALL_NUMBERS].map(([name, number]) => [number, name]));
const ARGUMENT_MASK = 0xffff_ffff_ffff_ffffn;

function seccompData(number: number, args: readonly bigint[], arch = X86_64): Buffer {
	const data = Buffer.alloc(64);
	data.writeUInt32LE(number >>> 0, 0);
	data.writeUInt32LE(arch, 4);
	args.forEach((value, index) => {
		data.writeBigUInt64LE(value & ARGUMENT_MASK, 16 + 8 * index);
	});
	return data;
}

/** The kernel's view: classic BPF over struct seccomp_data. Returns the raw return value and the steps taken. */
function interpret(filter: Uint8Array, data: Buffer): { value: number; steps: number } {
	const program = Buffer.from(filter);
	let accumulator = 0;
	let pc = 0;
	for (let steps = 1; ; steps++) {
		assert.ok(pc * 8 + 8 <= program.length, "the program ran past its end");
		const code = program.readUInt16LE(pc * 8);
		const jt = program.readUInt8(pc * 8 + 2);
		const jf = program.readUInt8(pc * 8 + 3);
		const k = program.readUInt32LE(pc * 8 + 4);
		const branch = (taken: boolean) => 1 + (taken ? jt : jf);
		if (code === 0x06) return { value: k, steps };
		if (code === 0x20) accumulator = data.readUInt32LE(k);
		else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
		else assert.ok([0x05, 0x15, 0x25, 0x35].includes(code), `unknown code ${code}`);
		if (code === 0x05) pc += 1 + k;
		else if (code === 0x15) pc += branch(accumulator === k);
		else if (code === 0x25) pc += branch(accumulator > k);
		else if (code === 0x35) pc += branch(accumulator >= k);
		else pc += 1;
	}
}

function toReturnValue(action: SeccompAction): number {
	if (typeof action !== "string") return 0x50000 + action.errno;
	const values = {
		allow: 0x7fff0000,
		log: 0x7ffc0000,
		trap: 0x30000,
		"kill-thread": 0,
		"kill-process": 0x80000000,
	};
	return values[action];
}

function holds(
	{ argument, is, value, mask = ARGUMENT_MASK }: ArgumentCondition,
	args: readonly bigint[],
): boolean {
	const actual = (args[argument] ?? 0n) & ARGUMENT_MASK & mask;
	if (is === "equal") return actual === value;
	if (is === "notEqual") return actual !== value;
	if (is === "less") return actual < value;
	if (is === "atMost") return actual <= value;
	return is === "greater" ? actual > value : actual >= value;
}

/** What the profile says, read directly. */
function evaluate(
	profile: SeccompProfile,
	number: number,
	args: readonly bigint[],
	capabilities: readonly CapabilityName[],
): number {
	if (number >= 0x40000000) return 0x50000 + 38;
	const name = NAMES.get(number);
	const rule = profile.rules.find(
		(candidate) =>
			name !== undefined &&
			candidate.names.includes(name) &&
			(candidate.capabilities?.some((capability) => capabilities.includes(capability)) ?? true) &&
			(candidate.when ?? []).every((condition) => holds(condition, args)),
	);
	return toReturnValue(rule?.action ?? profile.defaultAction);
}

const SAMPLE_NUMBERS = [
	...Array.from({ length: 600 }, (_, number) => number),
	0x3fffffff,
	0x40000000,
	0x40000001,
	0x7fffffff,
	0x80000000,
	0xffffffff,
];

const SAMPLE_ARGUMENTS: readonly (readonly bigint[])[] = [
	...[0n, 1n, 2n, 8n, 10n, 15n, 16n, 17n, 38n, 40n, 0x11n, 0x20000n, 0x20008n, 0x40000n, 0x10000000n].map(
		(a) => [a],
	),
	...[0xffffffffn, 0x1_00000000n, 0x1_00000001n, 0x7e020000n, 0x3d0f00n, ARGUMENT_MASK].map((a) => [a]),
	...[0x5412n, 0x541cn, 0x5401n, 0x1_00005412n, 0xffffffff_0000541cn].map((request) => [0n, request]),
	...[0n, 4n, 6n, 9n, 12n, 15n, 16n, 21n, 0x5_00000009n].map((protocol) => [16n, 3n, protocol]),
];

function assertSame(profile: SeccompProfile, capabilities: readonly CapabilityName[]): void {
	const filter = compileSeccomp(profile, { capabilities });
	for (const number of SAMPLE_NUMBERS) {
		for (const args of SAMPLE_ARGUMENTS) {
			const { value } = interpret(filter, seccompData(number, args));
			const expected = evaluate(profile, number, args, capabilities);
			if (value !== expected) {
				assert.fail(`${NAMES.get(number)} (${number}) with ${args}: ${value}, expected ${expected}`);
			}
		}
	}
}

test("the compiled default profile decides every call as the profile says, for several capability sets", () => {
	const sets: readonly (readonly CapabilityName[])[] = [
		[],
		DEFAULT_CAPABILITIES,
		["CAP_SYS_ADMIN"],
		CAPABILITY_NAMES,
	];
	for (const capabilities of sets) assertSame(DEFAULT_PROFILE, capabilities);
});

test("every comparison on 64 bits, with and without a mask, is compiled truly", () => {
	const values = [0n, 1n, 0x10n, 0xffffffffn, 0x1_00000000n, 0x1_00000001n, 0x7_00000010n, ARGUMENT_MASK];
	for (const is of ["equal", "notEqual", "less", "atMost", "greater", "atLeast"] as const) {
		for (const value of values) {
			for (const mask of [undefined, 0xffffffffn, 0x1_00000010n]) {
				const condition = { argument: 3, is, value, ...(mask !== undefined && { mask }) };
				const filter = compileSeccomp(
					{ defaultAction: "trap", rules: [{ names: ["read"], action: "allow", when: [condition] }] },
					{ capabilities: [] },
				);
				for (const actual of values) {
					const args = [0n, 0n, 0n, actual];
					assert.equal(
						interpret(filter, seccompData(0, args)).value,
						toReturnValue(holds(condition, args) ? "allow" : "trap"),
						`${actual} ${is} ${value} & ${mask}`,
					);
				}
			}
		}
	}
});

test("jumps over more than 255 instructions arrive", () => {
	const rules = [...SYSCALL_NUMBERS.keys()].map((name, index) => ({
		names: [name],
		action: { errno: 1 + (index % 7) },
		when: [
			intArgument(index % 6, "equal", 1),
			{ argument: 2, is: "atLeast" as const, value: BigInt(index) << 30n },
		],
	}));
	const profile: SeccompProfile = { defaultAction: "allow", rules };
	assert.ok(compileSeccomp(profile, { capabilities: [] }).length > 8 * 2000);
	assertSame(profile, []);
});

test("another architecture kills the process, and x32 numbers do not exist", () => {
	const filter = compileSeccomp({ defaultAction: "allow", rules: [] }, { capabilities: [] });
	assert.equal(interpret(filter, seccompData(1, [], 0x40000003)).value, 0x80000000);
	assert.equal(interpret(filter, seccompData(0x40000000 + 1, [])).value, 0x50000 + 38);
	assert.equal(interpret(filter, seccompData(1, [])).value, 0x7fff0000);
});

test("profiles that cannot be compiled are refused", () => {
	const compile = (profile: SeccompProfile) => () => compileSeccomp(profile, { capabilities: [] });
	assert.throws(compile({ defaultAction: { errno: 0 }, rules: [] }), { code: "invalid_argument" });
	assert.throws(compile({ defaultAction: { errno: 4096 }, rules: [] }), { code: "invalid_argument" });
	for (const condition of [intArgument(6, "equal", 1), intArgument(0, "equal", -1)]) {
		const rules = [{ names: ["read"], action: "allow" as const, when: [condition] }];
		assert.throws(compile({ defaultAction: "allow", rules }), { code: "invalid_argument" });
	}
});

test("every system call of the table is decided by name, and every name of the profile exists", () => {
	const named = new Set(DEFAULT_PROFILE.rules.flatMap((rule) => rule.names));
	const certain = new Set(
		DEFAULT_PROFILE.rules
			.filter((rule) => rule.capabilities === undefined && rule.when === undefined)
			.flatMap((rule) => rule.names),
	);
	assert.deepEqual(
		[...named].filter((name) => !SYSCALL_NUMBERS.has(name)),
		[],
	);
	assert.deepEqual(
		[...SYSCALL_NUMBERS.keys()].filter((name) => !certain.has(name)),
		[],
	);
});

test("no system call is both allowed and forbidden outright", () => {
	const actions = new Map<string, SeccompAction>();
	for (const rule of DEFAULT_PROFILE.rules) {
		if (rule.capabilities ?? rule.when) continue;
		for (const name of rule.names) {
			assert.ok(!actions.has(name), name);
			actions.set(name, rule.action);
		}
	}
});

function decide(name: string, args: readonly bigint[] = [], capabilities = DEFAULT_CAPABILITIES): string {
	const filter = compileSeccomp(DEFAULT_PROFILE, { capabilities });
	const { value } = interpret(filter, seccompData(SYSCALL_NUMBERS.get(name) ?? -1, args));
	const known = new Map([
		[0x7fff0000, "allow"],
		[0x50001, "EPERM"],
		[0x50026, "ENOSYS"],
		[0x5005d, "EPROTONOSUPPORT"],
		[0x50061, "EAFNOSUPPORT"],
	]);
	return known.get(value) ?? value.toString(16);
}

test("the default profile refuses what leads out of a sandbox", () => {
	const cases: readonly (readonly [expected: string, name: string, args?: readonly bigint[]])[] = [
		...[
			"mount",
			"umount2",
			"pivot_root",
			"move_mount",
			"open_tree",
			"setns",
			"unshare",
			"keyctl",
			"add_key",
		].map((name) => ["EPERM", name] as const),
		...["bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "kexec_load", "init_module", "reboot"].map(
			(name) => ["EPERM", name] as const,
		),
		["allow", "ptrace"],
		["allow", "clone", [0x1200011n]],
		["EPERM", "clone", [0x10000000n]],
		["EPERM", "clone", [0xff_40000011n]],
		["ENOSYS", "clone3"],
		["EPERM", "ioctl", [0n, 0x5412n]],
		["EPERM", "ioctl", [0n, 0xdead_00005412n]],
		["EPERM", "ioctl", [0n, 0x541cn]],
		["allow", "ioctl", [0n, 0x5413n]],
		["EAFNOSUPPORT", "socket", [40n]],
		["EAFNOSUPPORT", "socket", [38n]],
		["EAFNOSUPPORT", "socket", [15n]],
		["EAFNOSUPPORT", "socket", [17n]],
		["allow", "socket", [2n]],
		["EPROTONOSUPPORT", "socket", [16n, 3n, 9n]],
		["EPERM", "personality", [0x40000n]],
		["allow", "personality", [0xffffffffn]],
	];
	for (const [expected, name, args] of cases)
		assert.equal(decide(name, args), expected, `${name} ${args ?? ""}`);
	assert.equal(decide("socket", [17n], ["CAP_NET_RAW"]), "allow");
	assert.equal(decide("mount", [], ["CAP_SYS_ADMIN"]), "allow");
	assert.equal(decide("clone", [0x10000000n], ["CAP_SYS_ADMIN"]), "allow");
});

test("the default filter stays short", () => {
	const filter = compileSeccomp(DEFAULT_PROFILE, { capabilities: DEFAULT_CAPABILITIES });
	const steps = Array.from({ length: 480 }, (_, number) => interpret(filter, seccompData(number, [])).steps);
	assert.ok(filter.length / 8 < 250, `${filter.length / 8} instructions`);
	assert.ok(Math.max(...steps) < 40, `${Math.max(...steps)} steps`);
});

const LOADER = `
import ctypes, errno, os, socket, sys
filter = sys.stdin.buffer.read()
libc = ctypes.CDLL(None, use_errno=True)
code = ctypes.create_string_buffer(filter, len(filter))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(filter) // 8, ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
def attempt(*args):
    ctypes.set_errno(0)
    libc.syscall(*map(ctypes.c_long, args))
    return errno.errorcode.get(ctypes.get_errno(), "allow")
def family(number, protocol=0):
    try:
        socket.socket(number, socket.SOCK_RAW if number == 16 else socket.SOCK_STREAM, protocol).close()
        return "allow"
    except OSError as error:
        return errno.errorcode[error.errno]
pid = os.fork()
if pid == 0:
    os._exit(7)
print(attempt(39), attempt(272, 0x10000000), attempt(435, 0, 0), attempt(16, 0, 0x100005412, 0), attempt(0x40000000 + 39),
      attempt(999), family(2), family(40), family(16, 9), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

const hasPython = spawnSync("python3", ["-c", "import ctypes"]).status === 0;

test("the kernel takes the default filter and applies it", {
	skip: hasPython ? false : "python3 with ctypes is not installed",
}, () => {
	const filter = compileSeccomp(DEFAULT_PROFILE, { capabilities: DEFAULT_CAPABILITIES });
	const { stdout, stderr } = spawnSync("python3", ["-c", LOADER], { input: filter, encoding: "utf8" });
	assert.equal(
		stdout,
		"allow EPERM ENOSYS EPERM ENOSYS ENOSYS allow EAFNOSUPPORT EPROTONOSUPPORT 7\n",
		stderr,
	);
});
