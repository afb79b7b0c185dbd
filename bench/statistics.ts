/** Medians and what else a row of figures comes to. Times in ms. */

export interface Summary {
	readonly count: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly maxMs: number;
}

export function summarize(samplesMs: readonly number[]): Summary {
	const sorted = samplesMs.toSorted((a, b) => a - b);
	return {
		count: sorted.length,
		p50Ms: quantile(sorted, 0.5),
		p99Ms: quantile(sorted, 0.99),
		maxMs: quantile(sorted, 1),
	};
}

/** Nearest rank. */
function quantile(sorted: readonly number[], q: number): number {
	return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}
