/** The deadlines of what an agent has to answer. */

/**
 * Calls `onLate` after so long, unless it is cancelled. What has arrived meanwhile is handled before: when it was this
 * process that stood still, the agent is not to blame.
 * @returns how to cancel it; may be repeated.
 */
export function startDeadline(afterMs: number, onLate: () => void): () => void {
	let last: NodeJS.Immediate | undefined;
	const timer = setTimeout(() => {
		last = setImmediate(onLate);
	}, afterMs);
	return () => {
		clearTimeout(timer);
		clearImmediate(last);
	};
}
