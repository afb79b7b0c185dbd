/** Array.fromAsync, which the compiler's ES2024 does not know. */
export async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
	const all: T[] = [];
	for await (const value of values) all.push(value);
	return all;
}
