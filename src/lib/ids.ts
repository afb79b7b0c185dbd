/** Ids that Shale makes, and the form of those that clients choose. */
import { randomBytes } from "node:crypto";

/**
 * An id that a client may choose: 1 to 64 lower-case letters, digits and dashes, no dash at either end.
 * It becomes a file, cgroup and host name, hence no dots, slashes or capitals.
 */
export const ID_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/;

export const ID_RULE = "1 to 64 lower-case letters, digits and dashes, with no dash at either end";

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

/** A random id such as `sb-4k2j9x0q7w1m`: 12 base-36 digits, 62 bits, after the prefix. */
export function newId(prefix: string): string {
	let id = `${prefix}-`;
	// 36 divides 252, so bytes of 252 and above would favour the first digits.
	while (id.length < prefix.length + 13) {
		for (const byte of randomBytes(16)) {
			if (byte < 252 && id.length < prefix.length + 13) id += ALPHABET[byte % 36];
		}
	}
	return id;
}
