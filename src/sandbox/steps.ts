/** Steps of a sandbox's life that exclude each other: only one is under way. */

export type StepName = "create" | "stop" | "start";

export interface Step {
	readonly name: StepName;
	readonly done: Promise<void>;
}

export interface Stepping {
	step: Step | undefined;
}

/**
 * Takes a step when no other one is under way; joins the same one. `action` begins without delay then, so what it checks
 * first holds. Rejects as the step does.
 */
export async function takeStep(
	stepping: Stepping,
	name: StepName,
	action: () => Promise<void>,
): Promise<void> {
	while (stepping.step && stepping.step.name !== name) await settled(stepping.step.done);
	stepping.step ??= begin(stepping, name, action);
	await stepping.step.done;
}

function begin(stepping: Stepping, name: StepName, action: () => Promise<void>): Step {
	const done = action().finally(() => {
		stepping.step = undefined;
	});
	return { name, done };
}

/** Waits for the end, either way. */
export async function settled(promise: Promise<unknown> | undefined): Promise<void> {
	await promise?.then(
		() => undefined,
		() => undefined,
	);
}
