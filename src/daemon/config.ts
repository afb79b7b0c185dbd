/** The daemon's settings: environment over file over default, validated once, here. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "smol-toml";
import { z } from "zod";
import { errnoCode, ShaleError } from "../lib/errors.ts";
import { SERVICE_USER_PATTERN } from "./service-user.ts";

const absolutePath = z.string().regex(/^\/[^\0]*$/, "must be an absolute path");

/** 0 switches it off. */
const atLeast = (value: number) => z.coerce.number().int().min(0).max(0x7fff_ffff).default(value);
/** Percent; 100 switches it off. */
const atMost = (value: number) => z.coerce.number().min(0).max(100).default(value);

/** Every setting: the key in the file, its environment variable, its rule. docs/configuration.md lists the same. */
export const SETTINGS = {
	listen: { env: "SHALE_LISTEN", schema: z.string().default("127.0.0.1:7522") },
	token: { env: "SHALE_TOKEN", schema: z.string().min(16, "must have at least 16 characters").optional() },
	data: { env: "SHALE_DATA", schema: absolutePath.default("/var/lib/shale") },
	run: { env: "SHALE_RUN", schema: absolutePath.default("/run/shale") },
	user: {
		env: "SHALE_USER",
		schema: z.coerce
			.string()
			.regex(SERVICE_USER_PATTERN, "must be a name or a uid, with or without :gid")
			.optional(),
	},
	log: {
		env: "SHALE_LOG",
		schema: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
	},
	idsStart: {
		env: "SHALE_IDS_START",
		schema: z.coerce.number().int().min(65_536).max(0x7fff_0000).default(0x7000_0000),
	},
	defaultLayers: {
		env: "SHALE_DEFAULT_LAYERS",
		schema: z
			.union([
				z.array(z.string()),
				z.string().transform((list) => list.split(",").map((name) => name.trim())),
			])
			.default(["000-base-debian", "100-nodejs24", "100-python3"]),
	},
	minFreeMemoryMiB: { env: "SHALE_MIN_FREE_MEMORY_MIB", schema: atLeast(256) },
	minFreeDiskMiB: { env: "SHALE_MIN_FREE_DISK_MIB", schema: atLeast(256) },
	minFreeProcesses: { env: "SHALE_MIN_FREE_PROCESSES", schema: atLeast(512) },
	// Of all programs at once, which a single sandbox at its own limit does not reach on a host that does anything else.
	maxMemoryPressure: { env: "SHALE_MAX_MEMORY_PRESSURE", schema: atMost(90) },
	// A single program that writes makes an idle host wait for the disk most of the time.
	maxIoPressure: { env: "SHALE_MAX_IO_PRESSURE", schema: atMost(100) },
	// Busy CPUs make sandboxes slow, and nothing worse.
	maxCpuPressure: { env: "SHALE_MAX_CPU_PRESSURE", schema: atMost(100) },
	maxSandboxes: { env: "SHALE_MAX_SANDBOXES", schema: atLeast(0) },
} as const;

const configSchema = z.strictObject({
	listen: SETTINGS.listen.schema,
	token: SETTINGS.token.schema,
	data: SETTINGS.data.schema,
	run: SETTINGS.run.schema,
	user: SETTINGS.user.schema,
	log: SETTINGS.log.schema,
	idsStart: SETTINGS.idsStart.schema,
	defaultLayers: SETTINGS.defaultLayers.schema,
	minFreeMemoryMiB: SETTINGS.minFreeMemoryMiB.schema,
	minFreeDiskMiB: SETTINGS.minFreeDiskMiB.schema,
	minFreeProcesses: SETTINGS.minFreeProcesses.schema,
	maxMemoryPressure: SETTINGS.maxMemoryPressure.schema,
	maxIoPressure: SETTINGS.maxIoPressure.schema,
	maxCpuPressure: SETTINGS.maxCpuPressure.schema,
	maxSandboxes: SETTINGS.maxSandboxes.schema,
});

export type Config = z.infer<typeof configSchema> & {
	readonly listenHost: string;
	readonly listenPort: number;
};

const DEFAULT_FILE = "/etc/shale/config.toml";

/**
 * Reads SHALE_CONFIG (default /etc/shale/config.toml, which may be absent) and the environment.
 * @throws ShaleError `invalid_argument` naming the setting and where it came from.
 */
export async function readConfig(env: NodeJS.ProcessEnv = process.env): Promise<Config> {
	const fromFile = await readConfigFile(env.SHALE_CONFIG);
	const fromEnv: Record<string, string> = {};
	for (const [key, { env: variable }] of Object.entries(SETTINGS)) {
		const value = env[variable];
		if (value !== undefined && value !== "") fromEnv[key] = value;
	}
	const result = configSchema.safeParse({ ...fromFile, ...fromEnv });
	if (!result.success) throw invalidSetting(result.error.issues[0], fromEnv);
	const config = result.data;
	const address = parseListen(config.listen);
	if (config.token === undefined && !isLoopback(address.listenHost)) {
		throw new ShaleError(
			"invalid_argument",
			`listen ${config.listen}: without a token only loopback is allowed`,
			{
				hint: "Set SHALE_TOKEN to a secret of at least 16 characters, or listen on 127.0.0.1.",
			},
		);
	}
	return { ...config, ...address };
}

async function readConfigFile(named: string | undefined): Promise<Record<string, unknown>> {
	const hostPath = named || DEFAULT_FILE;
	let text: string;
	try {
		text = await readFile(hostPath, "utf8");
	} catch (error) {
		if (!named && errnoCode(error) === "ENOENT") return {};
		throw new ShaleError("invalid_argument", `reading the configuration ${hostPath}: ${String(error)}`, {
			cause: error,
		});
	}
	try {
		return parse(text);
	} catch (error) {
		throw new ShaleError("invalid_argument", `${hostPath}: ${String(error)}`, { cause: error });
	}
}

function invalidSetting(issue: z.core.$ZodIssue | undefined, fromEnv: Record<string, string>): ShaleError {
	const key = issue?.code === "unrecognized_keys" ? issue.keys[0] : issue?.path[0];
	const setting = SETTINGS[key as keyof typeof SETTINGS] as { env: string } | undefined;
	const where = setting && String(key) in fromEnv ? setting.env : `setting "${String(key)}"`;
	return new ShaleError("invalid_argument", `${where}: ${issue?.message ?? "is not valid"}`, {
		hint: `The settings are ${Object.keys(SETTINGS).join(", ")}; docs/configuration.md explains them.`,
	});
}

function parseListen(listen: string): { listenHost: string; listenPort: number } {
	const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]+)):(\d{1,5})$/.exec(listen);
	const host = match?.[1] ?? match?.[2];
	const port = Number(match?.[3]);
	if (host === undefined || !(port <= 65_535)) {
		throw new ShaleError("invalid_argument", `listen "${listen}" is not HOST:PORT`, {
			hint: "For example 127.0.0.1:7522, or [::1]:7522.",
		});
	}
	return { listenHost: host, listenPort: port };
}

/** 127.0.0.0/8, ::1 and localhost (RFC 6761 §6.3). */
function isLoopback(host: string): boolean {
	return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

/** The folders and files below `data` and `run`. */
export function daemonPaths(config: Pick<Config, "data" | "run">): {
	readonly layers: string;
	/** The user's own recipes, before those that Shale ships. */
	readonly recipes: string;
	readonly uppers: string;
	readonly database: string;
	readonly jailer: string;
	readonly sockets: string;
} {
	return {
		layers: join(config.data, "layers"),
		recipes: join(config.data, "recipes"),
		uppers: join(config.data, "uppers"),
		database: join(config.data, "shale.db"),
		jailer: join(config.run, "jailer"),
		sockets: join(config.run, "sandboxes"),
	};
}
