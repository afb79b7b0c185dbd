/** From a request to a whole sandbox: defaults in one place, limits held against the machine. */
import { ShaleError } from "../lib/errors.ts";
import { newId } from "../lib/ids.ts";
import type { CreateSandbox, Limits, OnExpiry, Sandbox, UpperKind } from "./types.ts";

/** What the host has, and so the most that one sandbox can be given. */
export interface Machine {
	readonly cores: number;
	readonly memoryMiB: number;
	readonly swapMiB: number;
	/** RLIMIT_NOFILE, hard: nothing below CAP_SYS_RESOURCE can raise it. */
	readonly openFiles: number;
	/** kernel.pid_max. */
	readonly processes: number;
	/** Of the disk on which uppers are made, whether it is free or not: that changes, see admission.ts. */
	readonly diskMiB: number;
}

export interface ResolveContext {
	readonly machine: Machine;
	readonly defaultBackend: string;
	/** Names of the layers that a sandbox gets when it names none. */
	readonly defaultLayers: readonly string[];
	/** Puts layer names in order or throws `invalid_argument`. */
	readonly toStack: (names: readonly string[]) => readonly string[];
	readonly now: Date;
}

export const SMALLEST_LIMITS: Limits = {
	cpuMillis: 10,
	memoryMiB: 16,
	swapMiB: 0,
	processes: 4,
	openFiles: 32,
	diskMiB: 1,
};

function defaultLimits({ cores, memoryMiB, openFiles }: Machine): Limits {
	return {
		cpuMillis: Math.min(1000, cores * 1000),
		memoryMiB: Math.min(1024, Math.floor(memoryMiB / 2)),
		swapMiB: 0,
		processes: 256,
		openFiles: Math.min(4096, openFiles),
		diskMiB: Math.min(512, Math.floor(memoryMiB / 4)),
	};
}

export function resolveSandbox(request: CreateSandbox, context: ResolveContext): Sandbox {
	const id = request.id ?? newId("sb");
	const upper = request.upper ?? "tmpfs";
	return {
		id,
		name: request.name ?? null,
		state: "creating",
		reason: null,
		backend: request.backend ?? context.defaultBackend,
		layers: context.toStack(request.layers ?? context.defaultLayers),
		env: request.env ?? {},
		user: request.user ?? "0",
		workdir: request.workdir ?? "/",
		hostname: request.hostname ?? id,
		labels: request.labels ?? {},
		limits: resolveLimits(request.limits ?? {}, { machine: context.machine, upper }),
		upper,
		network: request.network ?? "none",
		createdAt: context.now.toISOString(),
		// Its lifetime begins when it runs.
		expiresAt: null,
		idleTimeoutMs: request.idleTimeoutMs ?? null,
		onExpiry: resolveOnExpiry(request.onExpiry ?? "destroy", upper),
	};
}

function resolveOnExpiry(onExpiry: OnExpiry, upper: UpperKind): OnExpiry {
	if (onExpiry === "stop" && upper !== "disk") {
		throw new ShaleError(
			"invalid_argument",
			`onExpiry: stop keeps the writable layer, and upper is ${upper}`,
			{
				hint: 'Ask for upper "disk", or let it be destroyed.',
				details: { field: "onExpiry" },
			},
		);
	}
	return onExpiry;
}

function resolveLimits(
	asked: Partial<Limits>,
	{ machine, upper }: { readonly machine: Machine; readonly upper: Sandbox["upper"] },
): Limits {
	const largest: Limits = {
		cpuMillis: machine.cores * 1000,
		memoryMiB: machine.memoryMiB,
		swapMiB: machine.swapMiB,
		processes: machine.processes,
		openFiles: machine.openFiles,
		diskMiB: upper === "tmpfs" ? machine.memoryMiB : machine.diskMiB,
	};
	const limits: Limits = { ...defaultLimits(machine), ...withoutUndefined(asked) };
	for (const name of Object.keys(SMALLEST_LIMITS) as (keyof Limits)[]) {
		const value = limits[name];
		if (value < SMALLEST_LIMITS[name] || value > largest[name]) {
			throw new ShaleError(
				"invalid_argument",
				`limits.${name}: ${value} is outside ${SMALLEST_LIMITS[name]} to ${largest[name]}`,
				{ hint: "The upper bound is what this machine has.", details: { field: `limits.${name}` } },
			);
		}
	}
	return limits;
}

function withoutUndefined(asked: Partial<Limits>): Partial<Limits> {
	return Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
}
