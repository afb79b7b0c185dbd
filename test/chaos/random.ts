/** Numbers by chance that a seed repeats. */
export interface Random {
	/** From 0 to below 1. */
	next(): number;
	/** From `min` to `max`, both included. */
	integer(min: number, max: number): number;
	pick<T>(...from: readonly [T, ...T[]]): T;
	/** A generator of its own, whose numbers do not depend on how far this one has got. */
	fork(name: number): Random;
}

/** mulberry32. */
export function createRandom(seed: number): Random {
	let state = seed >>> 0;
	const next = () => {
		state = (state + 0x6d2b_79f5) >>> 0;
		let mixed = Math.imul(state ^ (state >>> 15), state | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	};
	const integer = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
	return {
		next,
		integer,
		pick: <T>(...from: readonly [T, ...T[]]): T => from[integer(0, from.length - 1)] ?? from[0],
		fork: (name) => createRandom(seed + Math.imul(name + 1, 0x9e37_79b1)),
	};
}
