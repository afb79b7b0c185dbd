/**
 * Layer names and the order rule of stacks: layers merge bottom-up, ordered by their number, and on conflict the
 * highest number wins. Pure: whether a layer exists is the store's to say.
 */
import { ShaleError } from "../lib/errors.ts";

/** `NNN-name`: the name is a file name in the store and a word of a plan, hence no slashes and no capitals. */
export const LAYER_NAME_PATTERN = /^[0-9]{3}-[a-z0-9][a-z0-9._-]{0,62}$/;

export const LAYER_NAME_RULE =
	"three digits, a dash, and 1 to 63 lower-case letters, digits, dots, dashes and underscores";

/** overlayfs takes up to 500 lower layers; each costs a mount and lengthens every look-up, so we stop earlier. */
export const MAX_STACK_LAYERS = 100;

export type LayerKind = "base" | "module" | "snapshot";

const RANGES: readonly { readonly kind: LayerKind; readonly first: number; readonly last: number }[] = [
	{ kind: "base", first: 0, last: 0 },
	{ kind: "module", first: 10, last: 899 },
	{ kind: "snapshot", first: 900, last: 999 },
];

/** Throws `invalid_argument` when `name` is not a layer name or its number is in no range. Returns the name. */
export function parseLayerName(name: string, field = "name"): string {
	if (!LAYER_NAME_PATTERN.test(name)) {
		throw new ShaleError("invalid_argument", `${field}: ${JSON.stringify(name)} is not a layer name`, {
			hint: `A layer name is ${LAYER_NAME_RULE}, such as 000-base-debian.`,
			details: { field },
		});
	}
	if (!rangeOf(name)) {
		throw new ShaleError("invalid_argument", `${field}: the number of ${name} is in no range`, {
			hint: "Bases are 000, modules 010 to 899, snapshots 900 to 999.",
			details: { field },
		});
	}
	return name;
}

/** What a layer is by its number. The name must be one that {@link parseLayerName} accepts. */
export function toLayerKind(name: string): LayerKind {
	const range = rangeOf(name);
	if (!range) throw new ShaleError("internal", `${name} was not checked as a layer name`);
	return range.kind;
}

function rangeOf(name: string) {
	const number = toNumber(name);
	return RANGES.find(({ first, last }) => number >= first && number <= last);
}

function toNumber(name: string): number {
	return Number(name.slice(0, 3));
}

/**
 * The stack of these layers, bottom first: by number, layers of the same number as given. Throws
 * `invalid_argument` naming the field `layers` for bad names, doubles, no base, two bases, or too many.
 */
export function toStack(names: readonly string[]): readonly string[] {
	if (names.length > MAX_STACK_LAYERS) {
		throw wrongStack(`${names.length} layers are more than the ${MAX_STACK_LAYERS} that a stack may have`);
	}
	for (const name of names) parseLayerName(name, "layers");
	const double = names.find((name, index) => names.indexOf(name) !== index);
	if (double !== undefined) throw wrongStack(`${double} is named twice`);
	const bases = names.filter((name) => toLayerKind(name) === "base");
	if (bases.length === 0) {
		throw wrongStack(
			"a stack needs a base, and none of these is one",
			"Add a layer 000-…, such as 000-base-debian.",
		);
	}
	if (bases.length > 1) throw wrongStack(`a stack has one base, not ${bases.length}: ${bases.join(", ")}`);
	// Array.prototype.sort is stable: layers of one number stay as given.
	return [...names].sort((a, b) => toNumber(a) - toNumber(b));
}

function wrongStack(message: string, hint?: string): ShaleError {
	return new ShaleError("invalid_argument", `layers: ${message}`, {
		...(hint === undefined ? {} : { hint }),
		details: { field: "layers" },
	});
}
