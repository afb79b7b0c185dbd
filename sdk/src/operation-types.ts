/** The shapes of what the operators of a host look at, as docs/operations.md says them. */

export type EventType =
	| "sandbox.created"
	| "sandbox.running"
	| "sandbox.stopped"
	| "sandbox.failed"
	| "sandbox.destroyed"
	| "sandbox.expired"
	| "sandbox.extended"
	| "sandbox.adopted"
	| "host.leak";

export interface SandboxEvent {
	/** To go on from: {@link ListenEvents.after}. */
	readonly id: string;
	/** `reset`: events before this one are no longer known, or were told by a daemon that ran before. */
	readonly type: EventType | "reset";
	readonly at: string;
	readonly sandboxId?: string | undefined;
	/** Why it stopped, failed or expired. */
	readonly reason?: string | undefined;
	/** Of `sandbox.extended`: null when its lifetime has no end. */
	readonly expiresAt?: string | null | undefined;
	/** Of `host.leak`. */
	readonly resource?: { readonly kind: string; readonly name: string } | undefined;
}

export interface ListenEvents {
	/** Only of this sandbox. */
	readonly sandbox?: string | undefined;
	/** Only of these types. */
	readonly types?: readonly EventType[] | undefined;
	/** Id of the last event that was seen; without it events are told from now on. */
	readonly after?: string | undefined;
	readonly signal?: AbortSignal | undefined;
}

/** A thing on the host that nobody owns. */
export interface Resource {
	readonly kind: "process" | "cgroup" | "mount" | "loop" | "netns" | "socket" | "file" | "record";
	readonly name: string;
	/** The sandbox that it was made for; null when that cannot be told. */
	readonly sandboxId: string | null;
}

export interface GarbageReport {
	readonly dryRun: boolean;
	/** What was removed, or would be. */
	readonly removed: readonly Resource[];
	/** What could not be removed. */
	readonly left: readonly Resource[];
}
