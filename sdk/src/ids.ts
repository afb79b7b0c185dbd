/** Ids that the client makes up, so that it can ask again for what it has begun. */

/** A random id such as `p-3f9c0a71be24`. */
export function newId(prefix: string): string {
	return `${prefix}-${crypto.randomUUID().slice(-12)}`;
}
