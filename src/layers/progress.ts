/** How far a build or import is. */

export interface Progress {
	/** A short name of what is being done, such as `packages` or `compress`. */
	readonly step: string;
	/** Of this step, 0 to 100; absent when it cannot be known. */
	readonly percent?: number;
	/** For people, such as the package that is being fetched. */
	readonly message?: string;
}

/** Called often; what it throws ends the work. */
export type OnProgress = (progress: Progress) => void;
