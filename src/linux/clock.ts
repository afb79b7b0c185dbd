/**
 * Time for deadlines that outlive the daemon. Within one boot it is the kernel's count since boot, which nobody can
 * set; from one boot to the next there is only the host's clock.
 */
import { readFileSync } from "node:fs";
import { uptime } from "node:os";

export interface Clock {
	/** Of this boot, random(4). */
	readonly bootId: string;
	/** Since boot, with the time in which the host was suspended: proc_uptime(5). Whole ms. */
	uptimeMs(): number;
	/** Since 1970, by the host's clock, which may be set forward and back. */
	wallMs(): number;
}

/** A point in time, by both counts. JSON. */
export interface Moment {
	readonly bootId: string;
	readonly uptimeMs: number;
	readonly wallMs: number;
}

export function openClock(): Clock {
	const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
	return { bootId, uptimeMs: () => Math.round(uptime() * 1000), wallMs: () => Date.now() };
}

/** The moment `ms` from now; before now when it is negative. */
export function momentIn(clock: Clock, ms: number): Moment {
	return { bootId: clock.bootId, uptimeMs: clock.uptimeMs() + ms, wallMs: clock.wallMs() + ms };
}

/** Ms until the moment; negative when it has passed. */
export function msUntil(clock: Clock, { bootId, uptimeMs, wallMs }: Moment): number {
	return bootId === clock.bootId ? uptimeMs - clock.uptimeMs() : wallMs - clock.wallMs();
}

/** Differences below this are those of reading two clocks, not of one that was set. */
const SAME_CLOCK_MS = 1000;

/** ISO 8601 by the host's clock of now, which may have been set since the moment was noted. */
export function toIsoTime(clock: Clock, moment: Moment): string {
	const wallMs = clock.wallMs() + msUntil(clock, moment);
	const isUnchanged = Math.abs(wallMs - moment.wallMs) < SAME_CLOCK_MS;
	return new Date(isUnchanged ? moment.wallMs : wallMs).toISOString();
}
