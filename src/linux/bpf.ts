/**
 * An assembler for classic BPF as seccomp(2) takes it: `struct sock_filter { u16 code; u8 jt, jf; u32 k }`.
 *
 * It builds from the last instruction to the first. All jumps of BPF go forward, so every target exists and its
 * distance is known when the jump is written; one that is out of reach of the 8-bit offset gets a relay beside it.
 */
import { ShaleError } from "../lib/errors.ts";

/** Codes of linux/bpf_common.h, as seccomp allows them. */
const LOAD_WORD = 0x20;
const AND = 0x54;
const JUMP = 0x05;
const RETURN = 0x06;
const CONDITION = { equal: 0x15, greater: 0x25, atLeast: 0x35 } as const;

/** BPF_MAXINSNS. */
const MAX_INSTRUCTIONS = 4096;
const MAX_SHORT_JUMP = 255;

export const INSTRUCTION_BYTES = 8;

/** The place of an instruction, counted from the end of the program; the last instruction is 1. */
export type Label = number;

interface Instruction {
	readonly code: number;
	readonly jt?: number;
	readonly jf?: number;
	readonly k: number;
}

export class BpfAssembler {
	readonly #reversed: Instruction[] = [];
	readonly #returns = new Map<number, Label>();

	/** `return value`. Calls with the same value share an instruction while it is in reach. */
	ret(value: number): Label {
		const known = this.#returns.get(value);
		if (known !== undefined && this.#distance(known) <= MAX_SHORT_JUMP) return known;
		const label = this.#push({ code: RETURN, k: value });
		this.#returns.set(value, label);
		return label;
	}

	/** Loads the 32-bit word at `offset` of the data into the accumulator and continues at `next`. */
	load(offset: number, next: Label): Label {
		return this.#pushBefore(next, { code: LOAD_WORD, k: offset });
	}

	/** Masks the accumulator and continues at `next`. */
	and(mask: number, next: Label): Label {
		return this.#pushBefore(next, { code: AND, k: mask });
	}

	/** Compares the accumulator with `value`, unsigned. */
	branch(condition: keyof typeof CONDITION, value: number, whenTrue: Label, whenFalse: Label): Label {
		let yes = whenTrue;
		let no = whenFalse;
		// Each relay moves the other target one further away, so look again until both are in reach.
		for (;;) {
			if (this.#distance(yes) > MAX_SHORT_JUMP) yes = this.#relay(yes);
			else if (this.#distance(no) > MAX_SHORT_JUMP) no = this.#relay(no);
			else break;
		}
		return this.#push({
			code: CONDITION[condition],
			jt: this.#distance(yes),
			jf: this.#distance(no),
			k: value,
		});
	}

	/** The program that starts at `first`, which must be the instruction that was added last. */
	assemble(first: Label): Uint8Array {
		const count = this.#reversed.length;
		if (first !== count || count > MAX_INSTRUCTIONS) {
			throw new ShaleError(
				"invalid_argument",
				`Cannot assemble the filter: ${count} instructions, start at ${first}; the kernel takes ${MAX_INSTRUCTIONS}`,
			);
		}
		const bytes = Buffer.alloc(count * INSTRUCTION_BYTES);
		for (const [index, { code, jt = 0, jf = 0, k }] of this.#reversed.entries()) {
			const at = (count - 1 - index) * INSTRUCTION_BYTES;
			bytes.writeUInt16LE(code, at);
			bytes.writeUInt8(jt, at + 2);
			bytes.writeUInt8(jf, at + 3);
			bytes.writeUInt32LE(k, at + 4);
		}
		return bytes;
	}

	/** Instructions that a jump written now would skip to reach `label`. */
	#distance(label: Label): number {
		return this.#reversed.length - label;
	}

	#push(instruction: Instruction): Label {
		return this.#reversed.push(instruction);
	}

	#pushBefore(next: Label, instruction: Instruction): Label {
		if (this.#distance(next) > 0) this.#relay(next);
		return this.#push(instruction);
	}

	/** An unconditional way to `label` from here: a copy of a return is shorter than a jump to it. */
	#relay(label: Label): Label {
		const target = this.#reversed[label - 1];
		if (target?.code === RETURN) return this.#push(target);
		return this.#push({ code: JUMP, k: this.#distance(label) });
	}
}
