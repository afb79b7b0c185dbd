/** Fields that several resources share. Each states its rule in words, as the message of a refusal. */
import { constants } from "node:os";
import { z } from "zod";
import { LAYER_NAME_PATTERN, LAYER_NAME_RULE } from "../../layers/stack.ts";
import { ID_PATTERN, ID_RULE } from "../../lib/ids.ts";

/** A request object: unknown fields are refused, and the refusal names the known ones. */
export function fields<Shape extends z.core.$ZodLooseShape>(
	shape: Shape,
): z.ZodObject<Shape, z.core.$strict> {
	const known = Object.keys(shape).join(", ");
	return z.strictObject(shape, {
		error: (issue) =>
			issue.code === "unrecognized_keys"
				? `unknown field ${quoteAll(issue.keys)}; ${known === "" ? "no fields are known" : `known fields are ${known}`}`
				: undefined,
	});
}

function quoteAll(names: readonly unknown[] | undefined): string {
	return (names ?? []).map((name) => JSON.stringify(name)).join(", ");
}

/** Linux' PATH_MAX, without its NUL. */
const PATH_BYTES = 4095;

/** Linux' MAX_ARG_STRLEN, without its NUL: longer arguments make execve(2) fail. */
const ARGUMENT_BYTES = 131_071;

/** The agent's timer is 32 bits of ms. */
const TIMEOUT_MAX_MS = 0xffff_ffff;

/** Text that reaches the kernel as a C string: a NUL would cut it, half a surrogate pair would change it. */
function cText({ maxBytes }: { readonly maxBytes: number }) {
	return z
		.string()
		.refine((value) => !value.includes("\0"), "must not contain a NUL byte")
		.refine((value) => value.isWellFormed(), "must be well-formed Unicode, without half a surrogate pair")
		.refine((value) => fitsBytes(value, maxBytes), `must have at most ${maxBytes} bytes in UTF-8`);
}

function fitsBytes(value: string, maxBytes: number): boolean {
	// A UTF-16 unit is at most 3 bytes of UTF-8, so short text needs no counting.
	return value.length * 3 <= maxBytes || Buffer.byteLength(value) <= maxBytes;
}

export const id = z.string().regex(ID_PATTERN, `must be ${ID_RULE}`);

const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

export const name = z
	.string()
	.regex(
		NAME_PATTERN,
		"must be 1 to 63 letters, digits, dots, dashes and underscores, not beginning with a mark",
	);

export const layerName = z
	.string()
	.regex(LAYER_NAME_PATTERN, `must be ${LAYER_NAME_RULE}, such as 100-python3`);

const argument = cText({ maxBytes: ARGUMENT_BYTES });

export const argv = z
	.array(argument)
	.min(1, "must have at least 1 element, the program")
	.max(1024, "must have at most 1024 elements")
	.refine((value) => value[0] !== "", { error: "must not be empty: it is the program", path: [0] })
	.meta({
		description: "The program and its arguments; no shell is involved.",
		examples: [["python3", "-V"]],
	});

export const env = z
	.record(
		z
			.string()
			.regex(
				/^[A-Za-z_][A-Za-z0-9_]*$/,
				"must be letters, digits and underscores, not beginning with a digit",
			),
		argument,
	)
	.refine((value) => Object.keys(value).length <= 1024, "must have at most 1024 variables")
	.meta({ description: "Environment variables, on top of the defaults." });

export const guestPath = cText({ maxBytes: PATH_BYTES })
	.regex(/^\//, "must be an absolute path inside the sandbox, beginning with /")
	.refine((value) => !/(?:^|\/)\.\.(?:\/|$)/.test(value), "must not contain ..");

const ACCOUNT = "(?:[0-9]{1,10}|[A-Za-z_][A-Za-z0-9_.-]{0,31})";

export const user = z
	.string()
	.regex(new RegExp(`^${ACCOUNT}(?::${ACCOUNT})?$`), "must be a user name or number, optionally with :group")
	.meta({
		description: "`uid[:gid]`, or names of the sandbox's /etc/passwd and /etc/group.",
		examples: ["1000:1000"],
	});

const LABEL_PATTERN = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;

export const labels = z
	.record(
		z
			.string()
			.regex(
				LABEL_PATTERN,
				"must be 1 to 63 letters, digits, dots, dashes, slashes and underscores, with a letter or digit at both ends",
			),
		cText({ maxBytes: 256 }),
	)
	.refine((value) => Object.keys(value).length <= 64, "must have at most 64 labels")
	.meta({ description: "For finding sandboxes again; `?label=key%3Dvalue` filters by them." });

export const timeoutMs = z
	.int()
	.min(1)
	.max(TIMEOUT_MAX_MS)
	.meta({ description: "SIGKILL to the process group after this time." });

/** Names of signal(7) as this kernel has them, with and without `SIG`. */
const SIGNAL_PATTERN = new RegExp(
	`^(?:SIG)?(?:${Object.keys(constants.signals)
		.map((signal) => signal.slice(3))
		.join("|")})$`,
);

export const signalName = z
	.string()
	.regex(SIGNAL_PATTERN, "must be the name of a signal, such as SIGTERM or KILL")
	.meta({ examples: ["SIGTERM"] });

export const terminalSize = fields({
	columns: z.int().min(1).max(65_535),
	rows: z.int().min(1).max(65_535),
});

/** ISO 8601, UTC. */
export const timestamp = z.string().meta({ format: "date-time" });

/** A whole number in a query string. */
export function queryInteger({ min, max }: { readonly min: number; readonly max: number }) {
	return z
		.string()
		.regex(/^\d{1,16}$/, "must be a whole number")
		.transform(Number)
		.pipe(z.int().min(min).max(max));
}

export const queryBoolean = z
	.enum(["true", "false"])
	.transform((value) => value === "true")
	.pipe(z.boolean());
