/** A real daemon inside the test's process, on folders of its own and a free port, with real layers linked in. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../../src/daemon/config.ts";
import { startDaemon } from "../../src/daemon/daemon.ts";
import { createLog } from "../../src/lib/log.ts";
import type { Clock } from "../../src/linux/clock.ts";
import { linkLayers } from "./layers.ts";

export interface JsonAnswer {
	readonly status: number;
	// What the API answers is what a test looks into.
	readonly json: Record<string, unknown>;
}

export interface TestDaemon {
	/** Another one after each restart. */
	readonly url: string;
	readonly folder: string;
	request(method: string, path: string, body?: unknown): Promise<JsonAnswer>;
	/** Creates a sandbox and returns its id; fails the test when that fails. */
	create(request?: Record<string, unknown>): Promise<string>;
	exec(
		id: string,
		argv: readonly string[],
		options?: Record<string, unknown>,
	): Promise<Record<string, unknown>>;
	/** Stops the daemon and starts another one on the same folders. Sandboxes live on. */
	restart(options?: TestDaemonOptions): Promise<void>;
	/** Destroys its sandboxes, which it would leave running, and stops it. */
	stop(): Promise<void>;
}

export interface TestDaemonOptions {
	/** Default: the host's. */
	readonly clock?: Clock;
}

export const TEST_LAYERS = ["000-base-debian", "100-python3"] as const;

/** `settings` are more variables of docs/configuration.md. */
export async function startTestDaemon(
	layers: readonly string[] = TEST_LAYERS,
	settings: Readonly<Record<string, string>> = {},
	options: TestDaemonOptions = {},
): Promise<TestDaemon> {
	const folder = mkdtempSync(join(tmpdir(), "shale-test-"));
	linkLayers(join(folder, "data", "layers"), layers);
	const config = await readConfig({
		SHALE_LISTEN: "127.0.0.1:0",
		SHALE_DATA: join(folder, "data"),
		SHALE_RUN: join(folder, "run"),
		SHALE_DEFAULT_LAYERS: layers.join(","),
		...settings,
	});
	const start = (over: TestDaemonOptions) => startDaemon({ config, log: createLog("error"), ...over });
	let daemon = await start(options).catch((error: unknown) => {
		rmSync(folder, { recursive: true });
		throw error;
	});
	const request = (method: string, path: string, body?: unknown) =>
		requestJson(daemon.url + path, { method, body });
	return {
		get url() {
			return daemon.url;
		},
		folder,
		request,
		create: async (body = {}) => String((await expect(201, request("POST", "/v1/sandboxes", body))).id),
		exec: (id, argv, more = {}) =>
			expect(200, request("POST", `/v1/sandboxes/${id}/exec`, { argv, ...more })),
		async restart(over = {}) {
			await daemon.stop();
			daemon = await start({ ...options, ...over });
		},
		async stop() {
			await destroyAll(request);
			await daemon.stop();
			rmSync(folder, { recursive: true });
		},
	};
}

type Request = (method: string, path: string, body?: unknown) => Promise<JsonAnswer>;

/** Whatever became of a test. */
export async function destroyAll(request: Request): Promise<void> {
	const { json } = await request("GET", "/v1/sandboxes?limit=1000");
	const sandboxes = json.sandboxes as { readonly id: string }[];
	await Promise.all(
		sandboxes.map(({ id }) => expect(204, request("DELETE", `/v1/sandboxes/${encodeURIComponent(id)}`))),
	);
}

export async function requestJson(
	url: string,
	{ method, body }: { readonly method: string; readonly body?: unknown },
): Promise<JsonAnswer> {
	const response = await fetch(url, {
		method,
		...(body !== undefined && {
			headers: { "content-type": "application/json" },
			body: JSON.stringify(body),
		}),
	});
	const text = await response.text();
	return { status: response.status, json: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) };
}

async function expect(status: number, answer: Promise<JsonAnswer>): Promise<Record<string, unknown>> {
	const { status: seen, json } = await answer;
	if (seen !== status) throw new Error(`answered ${seen}: ${JSON.stringify(json)}`);
	return json;
}
