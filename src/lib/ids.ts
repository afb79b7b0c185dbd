/** Ids that Shale makes, and the form of those that clients choose. */
import { randomUUID } from "node:crypto";

/**
 * An id that a client may choose: 1 to 64 lower-case letters, digits and dashes, no dash at either end.
 * It becomes a file, cgroup and host name, hence no dots, slashes or capitals.
 */
export const ID_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/;

export const ID_RULE = "1 to 64 lower-case letters, digits and dashes, with no dash at either end";

/** A random id such as `sb-3f9c0a71be24`: 12 hex digits after the prefix, of a random UUID's last 48 bits. */
export function newId(prefix: string): string {
	return `${prefix}-${randomUUID().slice(-12)}`;
}
