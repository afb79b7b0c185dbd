/** From untrusted values to typed ones. A refusal names the field and what would be right. */
import type { z } from "zod";
import { ShaleError } from "../lib/errors.ts";

/** Problems beyond these are not listed. */
const PROBLEMS_MAX = 10;

/**
 * The value as the schema has it.
 * @throws ShaleError `invalid_argument`: message `FIELD: RULE`, all problems in `details.problems`.
 */
export function parseInput<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
	const result = schema.safeParse(value, { error: describeIssue });
	if (result.success) return result.data;
	const problems = result.error.issues.map(toProblem);
	const [first] = problems;
	throw new ShaleError("invalid_argument", first ? formatProblem(first) : "the request is not valid", {
		details: { field: first?.field ?? "", problems: problems.slice(0, PROBLEMS_MAX).map(formatProblem) },
	});
}

interface Problem {
	readonly field: string;
	readonly rule: string;
}

function formatProblem({ field, rule }: Problem): string {
	return field === "" ? rule : `${field}: ${rule}`;
}

function toProblem(issue: z.core.$ZodIssue): Problem {
	// The rule of a record's key is told by an issue inside.
	const rule = issue.code === "invalid_key" ? (issue.issues[0]?.message ?? issue.message) : issue.message;
	return { field: formatPath(issue.path), rule: issue.code === "invalid_key" ? `the name ${rule}` : rule };
}

/** `limits.memoryMiB`, `argv[0]`, `env["a b"]`. */
function formatPath(path: readonly PropertyKey[]): string {
	let text = "";
	for (const part of path) {
		if (typeof part === "number") text += `[${part}]`;
		else if (/^[A-Za-z_]\w*$/.test(String(part))) text += text === "" ? String(part) : `.${String(part)}`;
		else text += `[${JSON.stringify(String(part).slice(0, 100))}]`;
	}
	return text;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
	string: "a string",
	number: "a number",
	int: "a whole number",
	boolean: "true or false",
	array: "a list",
	object: "an object",
	record: "an object",
};

/** What must hold, for issues whose schema does not say it itself. */
function describeIssue(issue: z.core.$ZodRawIssue): string | undefined {
	switch (issue.code) {
		case "invalid_type":
			if (issue.input === undefined) return "is required";
			return `must be ${TYPE_NAMES[issue.expected] ?? issue.expected}`;
		case "too_small":
			return `must ${measure(issue.origin)}at least ${issue.minimum}${unit(issue.origin, issue.minimum)}`;
		case "too_big":
			return `must ${measure(issue.origin)}at most ${issue.maximum}${unit(issue.origin, issue.maximum)}`;
		case "invalid_value":
			return `must be ${issue.values.length === 1 ? "" : "one of "}${issue.values.map(String).join(", ")}`;
		default:
			return undefined;
	}
}

function measure(origin: string): string {
	return origin === "string" || origin === "array" ? "have " : "be ";
}

function unit(origin: string, count: number | bigint): string {
	if (origin === "string") return count === 1 ? " character" : " characters";
	if (origin === "array") return count === 1 ? " element" : " elements";
	return "";
}
