/**
 * Compiles a seccomp profile to the filter that the kernel runs at every system call (seccomp(2), x86_64 only).
 *
 * The filter is a binary search over ranges of numbers that are decided alike, not a list: when it is loaded, the
 * kernel runs it once per system call number to learn which ones are always allowed (Linux ≥ 5.11), so its length
 * is paid at every sandbox start.
 */
import { ShaleError } from "../lib/errors.ts";
import { BpfAssembler, type Label } from "./bpf.ts";
import { type CapabilityName, DEFAULT_CAPABILITIES } from "./capabilities.ts";
import { SYSCALL_NUMBERS } from "./syscalls.ts";

export type SeccompAction =
	| "allow"
	| "log"
	| "trap"
	| "kill-thread"
	| "kill-process"
	/** The call fails with this errno, 1 to 4095. */
	| { readonly errno: number };

/** What is compared with argument 0 to 5, as an unsigned 64-bit value after `mask` (default: all bits). */
export interface ArgumentCondition {
	readonly argument: number;
	readonly is: "equal" | "notEqual" | "less" | "atMost" | "greater" | "atLeast";
	readonly value: bigint;
	readonly mask?: bigint;
}

export interface SeccompRule {
	/** Names that are not in the table (other architectures, newer kernels) are passed over. */
	readonly names: readonly string[];
	readonly action: SeccompAction;
	/** All must hold. */
	readonly when?: readonly ArgumentCondition[];
	/** The rule exists only in sandboxes that are given one of these capabilities. */
	readonly capabilities?: readonly CapabilityName[];
}

/** The first rule that names the call and whose conditions hold decides; without one, the default action. */
export interface SeccompProfile {
	readonly defaultAction: SeccompAction;
	readonly rules: readonly SeccompRule[];
}

export const ENOSYS = 38;

const AUDIT_ARCH_X86_64 = 0xc000003e;
/** x32 calls carry this bit in their number and reach the kernel under the x86_64 architecture. */
const X32_BIT = 0x4000_0000;

/** Offsets in struct seccomp_data; the machine is little endian. */
const NUMBER_OFFSET = 0;
const ARCH_OFFSET = 4;
const lowOffset = (argument: number): number => 16 + 8 * argument;
const highOffset = (argument: number): number => lowOffset(argument) + 4;

const ALL_BITS = 0xffff_ffff_ffff_ffffn;
const WORD_BITS = 0xffff_ffffn;

const RETURN_VALUES = {
	"kill-process": 0x8000_0000,
	"kill-thread": 0x0000_0000,
	trap: 0x0003_0000,
	log: 0x7ffc_0000,
	allow: 0x7fff_0000,
} as const;
const RETURN_ERRNO = 0x0005_0000;

/**
 * An `int` argument of the kernel. SECURITY: it must be compared without its upper half, which the kernel ignores
 * and the caller chooses; a refusal would be passed by setting a bit there (CVE-2019-10063).
 */
export function intArgument(
	argument: number,
	is: ArgumentCondition["is"],
	value: number,
	mask = 0xffff_ffff,
): ArgumentCondition {
	return { argument, is, value: BigInt(value), mask: BigInt(mask) };
}

function returnValue(action: SeccompAction): number {
	if (typeof action === "string") return RETURN_VALUES[action];
	if (!Number.isInteger(action.errno) || action.errno < 1 || action.errno > 4095) {
		throw new ShaleError("invalid_argument", `Cannot compile the seccomp profile: errno ${action.errno}`);
	}
	return RETURN_ERRNO | action.errno;
}

/** How one system call is decided: conditional rules in order, then an action. */
interface Decision {
	readonly conditional: readonly SeccompRule[];
	readonly otherwise: SeccompAction;
}

function decisions(profile: SeccompProfile, granted: ReadonlySet<string>): Map<number, Decision> {
	const rulesOf = new Map<number, SeccompRule[]>();
	for (const rule of profile.rules) {
		if (rule.capabilities && !rule.capabilities.some((name) => granted.has(name))) continue;
		for (const name of rule.names) {
			const number = SYSCALL_NUMBERS.get(name);
			if (number === undefined) continue;
			rulesOf.set(number, [...(rulesOf.get(number) ?? []), rule]);
		}
	}
	return new Map([...rulesOf].map(([number, rules]) => [number, decide(rules, profile.defaultAction)]));
}

function decide(rules: readonly SeccompRule[], defaultAction: SeccompAction): Decision {
	const certain = rules.findIndex(({ when = [] }) => when.length === 0);
	if (certain === -1) return { conditional: rules, otherwise: defaultAction };
	return { conditional: rules.slice(0, certain), otherwise: rules[certain]?.action ?? defaultAction };
}

/** Numbers from `first` to the next segment's first. */
interface Segment {
	readonly first: number;
	readonly decision: Decision;
}

/** All 2³² numbers as ascending segments; neighbours with the same plain action are one. */
function segments(decided: ReadonlyMap<number, Decision>, defaultAction: SeccompAction): Segment[] {
	const byDefault: Decision = { conditional: [], otherwise: defaultAction };
	const result: Segment[] = [];
	const add = (first: number, decision: Decision) => {
		const last = result.at(-1)?.decision;
		if (last && isPlain(last) && isPlain(decision)) {
			if (returnValue(last.otherwise) === returnValue(decision.otherwise)) return;
		}
		result.push({ first, decision });
	};
	let next = 0;
	for (const [number, decision] of [...decided].sort(([a], [b]) => a - b)) {
		if (number > next || next === 0) add(next, byDefault);
		if (number === 0) result.length = 0;
		add(number, decision);
		next = number + 1;
	}
	add(next, byDefault);
	add(X32_BIT, { conditional: [], otherwise: { errno: ENOSYS } });
	return result;
}

function isPlain(decision: Decision): boolean {
	return decision.conditional.length === 0;
}

/** The comparison of one argument; continues at `yes` or `no`. 64 bits are compared as two words, high first. */
function emitCondition(asm: BpfAssembler, condition: ArgumentCondition, yes: Label, no: Label): Label {
	const { argument, is, value, mask = ALL_BITS } = condition;
	if (!Number.isInteger(argument) || argument < 0 || argument > 5 || BigInt.asUintN(64, value) !== value) {
		throw new ShaleError("invalid_argument", `Cannot compile a condition on argument ${argument}: ${value}`);
	}
	// `not` is the same test with its ways exchanged.
	if (is === "notEqual") return emitCondition(asm, { ...condition, is: "equal" }, no, yes);
	if (is === "less") return emitCondition(asm, { ...condition, is: "atLeast" }, no, yes);
	if (is === "atMost") return emitCondition(asm, { ...condition, is: "greater" }, no, yes);

	const low = { value: Number(value & WORD_BITS), mask: Number(mask & WORD_BITS) };
	const high = { value: Number(value >> 32n), mask: Number(mask >> 32n) };
	const loaded = (offset: number, word: { mask: number }, next: Label): Label =>
		asm.load(offset, word.mask === 0xffff_ffff ? next : asm.and(word.mask, next));

	const lowTest = loaded(lowOffset(argument), low, asm.branch(is, low.value, yes, no));
	if (high.mask === 0 && high.value === 0) return lowTest;
	const highEqual = asm.branch("equal", high.value, lowTest, no);
	const highTest = is === "equal" ? highEqual : asm.branch("greater", high.value, yes, highEqual);
	return loaded(highOffset(argument), high, highTest);
}

function emitDecision(asm: BpfAssembler, { conditional, otherwise }: Decision): Label {
	return conditional.reduceRight(
		(no, { when = [], action }) => {
			const yes = asm.ret(returnValue(action));
			return when.reduceRight((next, condition) => emitCondition(asm, condition, next, no), yes);
		},
		asm.ret(returnValue(otherwise)),
	);
}

function emitSearch(asm: BpfAssembler, sorted: readonly Segment[]): Label {
	const middle = sorted.length >> 1;
	const pivot = sorted[middle];
	if (pivot === undefined) throw new ShaleError("internal", "A seccomp search has no segments");
	if (sorted.length === 1) return emitDecision(asm, pivot.decision);
	const above = emitSearch(asm, sorted.slice(middle));
	const below = emitSearch(asm, sorted.slice(0, middle));
	return asm.branch("atLeast", pivot.first, above, below);
}

/**
 * The filter as raw `struct sock_filter[]`, for the plan's `seccomp` operation. `capabilities` are the ones that
 * the sandbox's processes can have. Calls of another architecture (32-bit programs, `int 0x80`) kill the process,
 * x32 calls fail with ENOSYS, whatever the profile says: the table of numbers would not fit them.
 * Throws `invalid_argument` for an impossible errno or argument and for a filter over 4096 instructions.
 */
export function compileSeccomp(
	profile: SeccompProfile,
	{ capabilities = DEFAULT_CAPABILITIES }: { readonly capabilities?: readonly CapabilityName[] } = {},
): Uint8Array {
	const decided = decisions(profile, new Set(capabilities));
	const asm = new BpfAssembler();
	const search = emitSearch(asm, segments(decided, profile.defaultAction));
	const afterArch = asm.load(NUMBER_OFFSET, search);
	const foreign = asm.ret(RETURN_VALUES["kill-process"]);
	return asm.assemble(asm.load(ARCH_OFFSET, asm.branch("equal", AUDIT_ARCH_X86_64, afterArch, foreign)));
}
