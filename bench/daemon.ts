/** A daemon for the benchmark alone: own data and run folders, the ordinary layers linked in, any free port. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../src/lib/package-root.ts";
import { BENCH_TRUE } from "./subjects.ts";

const LAYERS_HOST_PATH = "/var/lib/shale/layers";

export interface BenchDaemon {
	readonly port: number;
	readonly pid: number;
	stop(): Promise<void>;
}

/** @param layers names of layers of the ordinary store that the benchmark needs. */
export async function startDaemon(layers: readonly string[]): Promise<BenchDaemon> {
	const folder = mkdtempSync(join(tmpdir(), "shale-bench-"));
	// As /run on most machines, this is a tmpfs.
	const runFolder = mkdtempSync("/dev/shm/shale-bench-");
	linkLayers(join(folder, "data", "layers"), layers);
	const child = spawn(join(packageRoot(), "bin", "shale"), ["serve"], {
		stdio: ["ignore", "pipe", "inherit"],
		env: {
			...process.env,
			// Node reads the certificates at each start when this is set.
			NODE_EXTRA_CA_CERTS: "",
			SHALE_LISTEN: "127.0.0.1:0",
			SHALE_DATA: join(folder, "data"),
			SHALE_RUN: runFolder,
			SHALE_LOG: "warn",
		},
	});
	const port = await readPort(child);
	await importBenchLayer(folder, port);
	return {
		port,
		pid: child.pid ?? 0,
		async stop() {
			// The daemon would leave them running.
			await destroyAll(`http://127.0.0.1:${port}/v1/sandboxes`);
			child.kill("SIGTERM");
			await new Promise((resolve) => child.once("exit", resolve));
			for (const made of [folder, runFolder]) rmSync(made, { recursive: true });
		},
	};
}

function linkLayers(hostPath: string, layers: readonly string[]): void {
	mkdirSync(hostPath, { recursive: true });
	for (const file of readdirSync(LAYERS_HOST_PATH)) {
		if (!layers.some((name) => file.startsWith(`${name}.`))) continue;
		try {
			linkSync(join(LAYERS_HOST_PATH, file), join(hostPath, file));
		} catch {
			copyFileSync(join(LAYERS_HOST_PATH, file), join(hostPath, file));
		}
	}
}

async function destroyAll(url: string): Promise<void> {
	const { sandboxes } = (await (await fetch(`${url}?limit=1000`)).json()) as { sandboxes: { id: string }[] };
	for (const { id } of sandboxes) await fetch(`${url}/${id}`, { method: "DELETE" });
}

/** `shale serve` prints its URL once it takes requests. */
async function readPort({ stdout }: ChildProcess): Promise<number> {
	if (stdout === null) throw new Error("the daemon has no stdout");
	const lines = createInterface(stdout);
	for await (const line of lines) return Number(new URL(line.replace(/^.* /, "")).port);
	throw new Error("the daemon ended before it served");
}

/** A layer with one static program, so that an exec costs what Shale costs. */
async function importBenchLayer(folder: string, port: number): Promise<void> {
	const tree = join(folder, "tree");
	const image = join(folder, "bench.squashfs");
	mkdirSync(join(tree, "usr/local/bin"), { recursive: true });
	copyFileSync(join(packageRoot(), "bench/results/true"), join(tree, BENCH_TRUE));
	const made = spawnSync("mksquashfs", [tree, image, "-quiet", "-no-progress", "-all-root"], {
		encoding: "utf8",
	});
	if (made.status !== 0) throw new Error(`mksquashfs: ${made.stderr}`);
	const answer = await fetch(`http://127.0.0.1:${port}/v1/layers/890-bench`, {
		method: "PUT",
		headers: { "content-type": "application/octet-stream" },
		body: readFileSync(image),
	});
	if (!answer.ok) throw new Error(`importing the layer: ${await answer.text()}`);
}
