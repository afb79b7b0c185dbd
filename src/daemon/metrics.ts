/** Figures for Prometheus, text exposition format 0.0.4. */

export interface Figure {
	readonly name: string;
	readonly help: string;
	readonly type: "gauge" | "counter";
	readonly samples: readonly Sample[];
}

interface Sample {
	readonly labels?: Readonly<Record<string, string>>;
	readonly value: number;
}

export function formatMetrics(figures: readonly Figure[]): string {
	return figures
		.flatMap(({ name, help, type, samples }) => [
			`# HELP ${name} ${help}\n`,
			`# TYPE ${name} ${type}\n`,
			...samples.map(({ labels = {}, value }) => `${name}${formatLabels(labels)} ${value}\n`),
		])
		.join("");
}

/** One sample for each of `values` of a label. */
export function byLabel<T extends string>(
	label: string,
	values: readonly T[],
	toValue: (value: T) => number,
): readonly Sample[] {
	return values.map((value) => ({ labels: { [label]: value }, value: toValue(value) }));
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
	const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
	return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeLabel(value: string): string {
	return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
