/**
 * The benchmark: Shale beside its peers in one run, interleaved, as medians and ratios. Prints a table and
 * writes bench/results/latest.json. Usage: npm run bench [-- ROUNDS]
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { packageRoot } from "../src/lib/package-root.ts";
import { startDaemon } from "./daemon.ts";
import { type FileFigures, measureFile } from "./files.ts";
import { type FloodFigures, measureFlood } from "./flood.ts";
import { HttpConnection } from "./http-connection.ts";
import { idleMemory, residentBytes } from "./memory.ts";
import { type Summary, summarize } from "./statistics.ts";
import {
	BENCH_TRUE,
	commandSubject,
	cycleSubject,
	execSubject,
	expect,
	runcSubject,
	type Subject,
} from "./subjects.ts";

const RESULTS = join(packageRoot(), "bench/results");
const LAYERS = ["000-base-debian", "890-bench"];
const SAMPLES_PER_ROUND = 20;
const CLIENTS = 8;
const THROUGHPUT_MS = 3000;
const FILE_MIB = 1024;

const rounds = Number(process.argv[2] ?? 20);
buildPrograms();
const daemon = await startDaemon(LAYERS);
try {
	await run();
} finally {
	await daemon.stop();
}

async function run(): Promise<void> {
	const http = await HttpConnection.open(daemon.port);
	const idleDaemonBytes = residentBytes(daemon.pid);
	await expect(http, 201, { method: "POST", path: "/v1/sandboxes", body: { id: "bench", layers: LAYERS } });
	const subjects = installedSubjects(http);
	const summaries = await interleave(subjects);
	const results = {
		date: new Date().toISOString(),
		machine: { kernel: release(), cores: availableParallelism(), cpu: cpus()[0]?.model },
		subjects: summaries,
		execsPerSecond: await measureThroughput(),
		file: await measureFile(daemon, http, { layers: LAYERS, sizeMiB: FILE_MIB }),
		flood: await measureFlood(daemon, http, { layers: LAYERS }),
		idleSandbox: await idleMemory(http, LAYERS),
		daemonIdleBytes: idleDaemonBytes,
	};
	for (const { close } of subjects) close?.();
	http.close();
	writeFileSync(join(RESULTS, "latest.json"), `${JSON.stringify(results, null, "\t")}\n`);
	print(results);
}

function buildPrograms(): void {
	mkdirSync(RESULTS, { recursive: true });
	for (const name of ["spawn", "true"]) {
		const argv = [
			"-static",
			"-Os",
			"-Wall",
			"-Werror",
			"-o",
			join(RESULTS, name),
			join(packageRoot(), `bench/${name}.c`),
		];
		const { status, stderr } = spawnSync("musl-gcc", argv, { encoding: "utf8" });
		if (status !== 0) throw new Error(`musl-gcc: ${stderr}`);
	}
}

/** The peers that this machine has; a missing one is said and left out. */
function installedSubjects(http: HttpConnection): Subject[] {
	const spawnHostPath = join(RESULTS, "spawn");
	const trueHostPath = join(RESULTS, "true");
	const isInstalled = (command: string) => {
		const found = spawnSync("sh", ["-c", 'command -v "$1"', "sh", command]).status === 0;
		if (!found) process.stderr.write(`bench: ${command} is not installed: left out\n`);
		return found;
	};
	const bwrap = [
		"bwrap",
		"--unshare-all",
		"--ro-bind",
		"/",
		"/",
		"--proc",
		"/proc",
		"--dev",
		"/dev",
		trueHostPath,
	];
	const unshare = [
		"unshare",
		"--user",
		"--map-root-user",
		"--mount",
		"--pid",
		"--fork",
		"--net",
		trueHostPath,
	];
	return [
		commandSubject("fork + exec + wait", [trueHostPath], spawnHostPath),
		execSubject(http, "bench"),
		cycleSubject(http, LAYERS),
		...(isInstalled("bwrap") ? [commandSubject("bwrap --unshare-all", bwrap, spawnHostPath)] : []),
		...(isInstalled("unshare") ? [commandSubject("unshare -Urmpfn", unshare, spawnHostPath)] : []),
		...(isInstalled("runc") ? [runcSubject(trueHostPath, spawnHostPath)] : []),
	];
}

async function interleave(subjects: readonly Subject[]): Promise<Record<string, Summary>> {
	const samples = new Map(subjects.map(({ name }) => [name, [] as number[]]));
	for (const subject of subjects) await subject.sample(subject.warmUp);
	for (let round = 0; round < rounds; round++) {
		for (const subject of subjects)
			samples.get(subject.name)?.push(...(await subject.sample(SAMPLES_PER_ROUND)));
	}
	return Object.fromEntries([...samples].map(([name, samplesMs]) => [name, summarize(samplesMs)]));
}

/** Execs per second of several clients that each wait for their answer. */
async function measureThroughput(): Promise<number> {
	const clients = await Promise.all(Array.from({ length: CLIENTS }, () => HttpConnection.open(daemon.port)));
	const request = { method: "POST", path: "/v1/sandboxes/bench/exec", body: { argv: [BENCH_TRUE] } };
	let done = 0;
	const startedAt = performance.now();
	await Promise.all(
		clients.map(async (client) => {
			for (; performance.now() - startedAt < THROUGHPUT_MS; done++) await expect(client, 200, request);
			client.close();
		}),
	);
	return (done / (performance.now() - startedAt)) * 1000;
}

type Results = Awaited<ReturnType<typeof readResults>>;

function readResults(): {
	subjects: Record<string, Summary>;
	execsPerSecond: number;
	file: FileFigures;
	flood: FloodFigures;
	idleSandbox: { agentPssBytes: number; cgroupKernelBytes: number };
	daemonIdleBytes: number;
} {
	return JSON.parse(readFileSync(join(RESULTS, "latest.json"), "utf8"));
}

function print({ subjects, execsPerSecond, file, flood, idleSandbox, daemonIdleBytes }: Results): void {
	const write = (line: string) => process.stdout.write(`${line}\n`);
	write(`\n${"".padEnd(40)}${"p50 ms".padStart(10)}${"p99 ms".padStart(10)}${"samples".padStart(10)}`);
	for (const [name, { p50Ms, p99Ms, count }] of Object.entries(subjects)) {
		write(
			`${name.padEnd(40)}${p50Ms.toFixed(2).padStart(10)}${p99Ms.toFixed(2).padStart(10)}${`${count}`.padStart(10)}`,
		);
	}
	const p50 = (name: string) => subjects[name]?.p50Ms ?? Number.NaN;
	const row = (what: string, value: string, reach: string) =>
		write(`${what.padEnd(44)}${value.padStart(16)}   ${reach}`);
	write("");
	row(
		"exec / bare fork+exec+wait",
		`${(p50("exec through HTTP") / p50("fork + exec + wait")).toFixed(2)} ×`,
		"reach ≤ 2.5 ×",
	);
	row(`execs per second, ${CLIENTS} clients`, execsPerSecond.toFixed(0), "reach ≥ 1000");
	const cycle = p50("create + exec + destroy through HTTP") / p50("bwrap --unshare-all");
	row("create+exec+destroy / bwrap --unshare-all", `${cycle.toFixed(2)} ×`, "reach ≤ 1.0 ×");
	const speed = (bytesPerSecond: number) => `${(bytesPerSecond / 1e6).toFixed(0)} MB/s`;
	const mib = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(0)} MiB`;
	row(`file in through the files API, ${FILE_MIB} MiB`, speed(file.inBytesPerSecond), "reach ≥ 300 MB/s");
	row(`file out through the files API, ${FILE_MIB} MiB`, speed(file.outBytesPerSecond), "reach ≥ 300 MB/s");
	row("daemon RSS growth by these", mib(file.daemonGrowthBytes), "reach ≤ 64 MiB");
	const beside = flood.beside.p99Ms / flood.without.p99Ms;
	row("exec p99 beside an output flood / without", `${beside.toFixed(2)} ×`, "reach ≤ 2 ×");
	row("daemon RSS growth by the flood", mib(flood.daemonGrowthBytes), "reach: none to speak of");
	const kib = (idleSandbox.agentPssBytes + idleSandbox.cgroupKernelBytes) / 1024;
	row("memory per idle sandbox", `${kib.toFixed(0)} KiB`, "reach ≤ 1024 KiB");
	row("daemon RSS, idle", mib(daemonIdleBytes), "reach ≤ 120 MiB");
}
