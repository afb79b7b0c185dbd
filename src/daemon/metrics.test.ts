import assert from "node:assert/strict";
import { test } from "node:test";
import { byLabel, formatMetrics } from "./metrics.ts";

test("figures have a help, a type and their samples, with labels escaped", () => {
	const text = formatMetrics([
		{ name: "a_total", help: "How many.", type: "counter", samples: [{ value: 1.5 }] },
		{
			name: "b",
			help: "By kind.",
			type: "gauge",
			samples: [
				...byLabel("kind", ["x", "y"], (kind) => (kind === "x" ? 0 : 2)),
				{ labels: { kind: 'a"b\\c\nd', other: "z" }, value: 3 },
			],
		},
	]);
	assert.equal(
		text,
		[
			"# HELP a_total How many.",
			"# TYPE a_total counter",
			"a_total 1.5",
			"# HELP b By kind.",
			"# TYPE b gauge",
			'b{kind="x"} 0',
			'b{kind="y"} 2',
			'b{kind="a\\"b\\\\c\\nd",other="z"} 3',
			"",
		].join("\n"),
	);
});
