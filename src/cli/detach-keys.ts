/** Ctrl-P Ctrl-Q, which leaves a program running: found among the keys that are typed into a terminal. */

const FIRST_KEY = 0x10;
const SECOND_KEY = 0x11;

/** A Ctrl-P that nothing follows for so long is meant for the program. */
export const SECOND_KEY_MS = 500;

export class DetachKeys {
	#isHalf = false;

	/** The first of the two keys was typed, and is held back. */
	get isHalf(): boolean {
		return this.#isHalf;
	}

	/** What of it is for the program; what follows the two keys is for nobody. */
	push(typed: Uint8Array): { readonly data: Uint8Array; readonly isDetach: boolean } {
		const data: number[] = [];
		for (const key of typed) {
			if (this.#isHalf && key === SECOND_KEY) return { data: Uint8Array.from(data), isDetach: true };
			if (this.#isHalf) data.push(FIRST_KEY);
			this.#isHalf = key === FIRST_KEY;
			if (!this.#isHalf) data.push(key);
		}
		return { data: Uint8Array.from(data), isDetach: false };
	}

	/** Nothing followed: what was held back is for the program. */
	flush(): Uint8Array {
		const held = this.#isHalf ? [FIRST_KEY] : [];
		this.#isHalf = false;
		return Uint8Array.from(held);
	}
}
