/**
 * A stack of undos. Each step that acquires something registers its release beside it; on failure all run
 * backwards, each is tried, and the first error stays the one reported.
 */

export type Undo = () => unknown | Promise<unknown>;

export class CleanupStack {
	#undos: Undo[] = [];

	add(undo: Undo): void {
		this.#undos.push(undo);
	}

	/** Forgets all undos: what was acquired now belongs to somebody else. */
	release(): void {
		this.#undos = [];
	}

	/** Runs all undos, last first. Errors are collected and returned, never thrown. May be called again. */
	async run(): Promise<unknown[]> {
		const errors: unknown[] = [];
		for (let undo = this.#undos.pop(); undo; undo = this.#undos.pop()) {
			try {
				await undo();
			} catch (error) {
				errors.push(error);
			}
		}
		return errors;
	}
}

/**
 * Runs `steps` with a fresh stack. When it throws, the stack is unwound first and the same error is thrown on;
 * errors of the undos go to `onUndoError`.
 */
export async function withCleanup<T>(
	steps: (cleanup: CleanupStack) => Promise<T>,
	onUndoError: (error: unknown) => void,
): Promise<T> {
	const cleanup = new CleanupStack();
	try {
		return await steps(cleanup);
	} catch (error) {
		for (const undoError of await cleanup.run()) onUndoError(undoError);
		throw error;
	}
}
