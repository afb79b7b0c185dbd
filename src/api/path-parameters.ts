/** The parameters that paths have, one table for the routes and for the document. */

import { LAYER_NAME_PATTERN, LAYER_NAME_RULE } from "../layers/stack.ts";
import { ShaleError } from "../lib/errors.ts";
import { ID_PATTERN, ID_RULE } from "../lib/ids.ts";

interface ParameterRule {
	readonly pattern: RegExp;
	readonly rule: string;
	readonly description: string;
}

export const PATH_PARAMETERS = {
	id: { pattern: ID_PATTERN, rule: ID_RULE, description: "Id of the sandbox." },
	pid: {
		pattern: ID_PATTERN,
		rule: ID_RULE,
		description: "Id of the process, as Shale calls it; not its pid.",
	},
	name: { pattern: LAYER_NAME_PATTERN, rule: LAYER_NAME_RULE, description: "Name of the layer." },
	file: { pattern: /^[a-z-]+\.(?:js|css)$/, rule: "a file of this page", description: "A part of the page." },
} as const satisfies Record<string, ParameterRule>;

export type PathParameter = keyof typeof PATH_PARAMETERS;

/** The names in `/v1/sandboxes/{id}`, in order. */
export function parameterNames(path: string): PathParameter[] {
	return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => {
		if (name === undefined || !(name in PATH_PARAMETERS))
			throw new Error(`no path parameter is called ${name}`);
		return name as PathParameter;
	});
}

/** @throws ShaleError `invalid_argument`. Nothing that could leave a folder passes: no dots first, no slashes. */
export function parsePathParameter(name: PathParameter, value: string | undefined): string {
	const { pattern, rule } = PATH_PARAMETERS[name];
	if (value !== undefined && pattern.test(value)) return value;
	throw new ShaleError("invalid_argument", `${name} in the path: must be ${rule}`, {
		details: { field: name },
	});
}
