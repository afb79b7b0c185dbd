/** Stops a daemon that nobody uses: the ones that the CLI starts for itself. */

export interface IdleExitOptions {
	readonly afterMs: number;
	/** True while something must be kept: a sandbox lives, a build runs. */
	readonly isBusy: () => boolean;
	readonly stop: () => void;
}

export interface IdleExit {
	/** To be called at each request. */
	touch(): void;
	cancel(): void;
}

export function startIdleExit({ afterMs, isBusy, stop }: IdleExitOptions): IdleExit {
	let timer: NodeJS.Timeout | undefined;
	const touch = () => {
		clearTimeout(timer);
		timer = setTimeout(() => (isBusy() ? touch() : stop()), afterMs);
	};
	touch();
	return { touch, cancel: () => clearTimeout(timer) };
}
