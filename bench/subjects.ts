/** What is timed: each subject takes samples, in ms; they are interleaved so that all see the same machine. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import type { HttpConnection } from "./http-connection.ts";

export interface Subject {
	readonly name: string;
	/** Samples to take before any counts: a daemon runs for long, and its code is compiled as it is used. */
	readonly warmUp: number;
	sample(count: number): Promise<number[]> | number[];
	close?(): void;
}

export const BENCH_TRUE = "/usr/local/bin/bench-true";

/** A command started over and over from a parent as small as can be (bench/spawn.c). */
export function commandSubject(name: string, argv: readonly string[], spawnHostPath: string): Subject {
	return {
		name,
		warmUp: 20,
		sample(count) {
			const { status, stdout, stderr } = spawnSync(spawnHostPath, [String(count), ...argv], {
				encoding: "utf8",
			});
			if (status !== 0) throw new Error(`${name}: ${stderr}`);
			return stdout
				.trim()
				.split("\n")
				.map((line) => Number(line) / 1e6);
		},
	};
}

/** runc with a bundle like our sandbox's: all namespaces, limits off, a root file system that holds one program. */
export function runcSubject(trueHostPath: string, spawnHostPath: string): Subject {
	const bundle = mkdtempSync(join(tmpdir(), "shale-bench-runc-"));
	mkdirSync(join(bundle, "rootfs"));
	const copied = spawnSync("cp", [trueHostPath, join(bundle, "rootfs", "true")]);
	if (copied.status !== 0) throw new Error("runc: copying the program failed");
	const namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map((type) => ({ type }));
	const config = {
		ociVersion: "1.0.2",
		process: { args: ["/true"], cwd: "/", user: { uid: 0, gid: 0 }, noNewPrivileges: true },
		root: { path: "rootfs", readonly: true },
		mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
		linux: { namespaces },
	};
	writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
	const argv = [
		"runc",
		"--root",
		join(bundle, "state"),
		"run",
		"--bundle",
		bundle,
		`shale-bench-${process.pid}`,
	];
	return {
		...commandSubject("runc run", argv, spawnHostPath),
		close: () => rmSync(bundle, { recursive: true }),
	};
}

/** exec of a static program in a running sandbox, one request each. */
export function execSubject(http: HttpConnection, sandboxId: string): Subject {
	return {
		name: "exec through HTTP",
		warmUp: 3000,
		sample: (count) =>
			timed(count, async () => {
				await expect(http, 200, {
					method: "POST",
					path: `/v1/sandboxes/${sandboxId}/exec`,
					body: { argv: [BENCH_TRUE] },
				});
			}),
	};
}

/** create + exec + destroy, three requests. */
export function cycleSubject(http: HttpConnection, layers: readonly string[]): Subject {
	let made = 0;
	return {
		name: "create + exec + destroy through HTTP",
		warmUp: 300,
		sample: (count) =>
			timed(count, async () => {
				const id = `bench-${process.pid}-${made++}`;
				await expect(http, 201, { method: "POST", path: "/v1/sandboxes", body: { id, layers } });
				await expect(http, 200, {
					method: "POST",
					path: `/v1/sandboxes/${id}/exec`,
					body: { argv: [BENCH_TRUE] },
				});
				await expect(http, 204, { method: "DELETE", path: `/v1/sandboxes/${id}` });
			}),
	};
}

/** Sends a request and gives the parsed answer; any other status is an error. */
export async function expect(
	http: HttpConnection,
	status: number,
	request: { readonly method: string; readonly path: string; readonly body?: unknown },
): Promise<unknown> {
	const answer = await http.request(request.method, request.path, request.body);
	if (answer.status !== status) {
		throw new Error(`${request.method} ${request.path} answered ${answer.status}: ${answer.body}`);
	}
	const result: unknown = answer.body === "" ? undefined : JSON.parse(answer.body);
	if (isFailedExec(result)) throw new Error(`${request.path}: ${answer.body}`);
	return result;
}

function isFailedExec(result: unknown): boolean {
	return typeof result === "object" && result !== null && "exitCode" in result && result.exitCode !== 0;
}

async function timed(count: number, run: () => Promise<void>): Promise<number[]> {
	const samplesMs: number[] = [];
	for (let n = 0; n < count; n++) {
		const startedAt = performance.now();
		await run();
		samplesMs.push(performance.now() - startedAt);
	}
	return samplesMs;
}
