/** What the words of `shale cp` name: a path here, a path in a sandbox, or our own stdin and stdout. */
import { ShaleError } from "../../lib/errors.ts";

export type Place =
	| { readonly kind: "host"; readonly path: string }
	| { readonly kind: "sandbox"; readonly idOrName: string; readonly path: string }
	| { readonly kind: "pipe" };

/** @throws ShaleError `invalid_argument` for a path in a sandbox that is not absolute. */
export function parsePlace(word: string): Place {
	if (word === "-") return { kind: "pipe" };
	// A colon behind a slash or a dot at the beginning belongs to a path: ./a:b.
	const [, idOrName, path = ""] = /^([^/.:][^/:]*):(.*)$/s.exec(word) ?? [];
	if (idOrName === undefined) return { kind: "host", path: word };
	if (!path.startsWith("/")) {
		throw new ShaleError("invalid_argument", `${word}: a path in a sandbox begins with a slash`, {
			hint: `Write: ${idOrName}:/${path}, or ./${word} for a file of that name here.`,
		});
	}
	return { kind: "sandbox", idOrName, path };
}
