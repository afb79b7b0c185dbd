/** Figures for Prometheus, text exposition format 0.0.4. */

export interface Figure {
	readonly name: string;
	readonly help: string;
	readonly type: "gauge" | "counter";
	readonly value: number;
}

export function formatMetrics(figures: readonly Figure[]): string {
	return figures
		.map(
			({ name, help, type, value }) => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`,
		)
		.join("");
}
