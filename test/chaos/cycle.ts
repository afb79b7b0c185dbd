/** One cycle: a sandbox is made, programs run in it in every way that there is, and it is destroyed, or kept for the end. */
import { createProgram, type KnownProgram, RUNS_GUEST_PATH, SeenRun } from "./known-program.ts";
import { type PatientClient, Violation } from "./patient-client.ts";
import type { Random } from "./random.ts";

/** A sandbox that was not destroyed, with what has to be found in it. */
export interface KeptSandbox {
	readonly id: string;
	readonly runs: readonly KnownProgram[];
	/** Still to be followed to its end. */
	readonly unread: KnownProgram;
}

export interface CycleOptions {
	readonly client: PatientClient;
	readonly sandboxId: string;
	readonly random: Random;
}

const NDJSON = "application/x-ndjson";

/** Returns the sandbox when it was kept. Throws a Violation. */
export async function runCycle(options: CycleOptions): Promise<KeptSandbox | undefined> {
	const { client, sandboxId, random } = options;
	const upper = random.next() < 0.3 ? "disk" : "tmpfs";
	await create(options, upper);
	const runs = Array.from({ length: random.integer(1, 4) }, (_, n) => createProgram(`run-${n}`, random));
	await Promise.all(runs.map((program) => run(client, { sandboxId, program, way: toWay(random) })));
	if (upper === "disk" && random.next() < 0.5) await stopAndStart(client, sandboxId);
	if (random.next() < 0.25) {
		const unread = createProgram("unread", random);
		await startInBackground(client, sandboxId, unread);
		return { id: sandboxId, runs, unread };
	}
	await checkRuns(client, sandboxId, runs);
	await destroy(client, sandboxId);
	return undefined;
}

/** What was kept is still there, and all that ran in it; then it is destroyed. */
export async function checkKept(client: PatientClient, { id, runs, unread }: KeptSandbox): Promise<void> {
	const { json } = await client.call({ method: "GET", path: `/v1/sandboxes/${id}`, expected: [200] });
	if (json.state !== "running") throw new Violation(`${id} is ${json.state}: ${json.reason}`);
	await follow(client, id, unread);
	await checkRuns(client, id, [...runs, unread]);
	await destroy(client, id);
}

async function create({ client, sandboxId }: CycleOptions, upper: "disk" | "tmpfs"): Promise<void> {
	const body = {
		id: sandboxId,
		upper,
		limits: { memoryMiB: 128, diskMiB: 32, processes: 64 },
	};
	const { json } = await client.call({ method: "POST", path: "/v1/sandboxes", body, expected: [200, 201] });
	if (json.state !== "running") throw new Violation(`${sandboxId} was created and is ${json.state}`);
}

/** What is on its disk stays. */
async function stopAndStart(client: PatientClient, id: string): Promise<void> {
	for (const [verb, state] of [
		["stop", "stopped"],
		["start", "running"],
	] as const) {
		const path = `/v1/sandboxes/${id}/${verb}`;
		const { json } = await client.call({ method: "POST", path, expected: [200] });
		if (json.state !== state) throw new Violation(`${id}: ${verb} left it ${json.state}: ${json.reason}`);
	}
}

/** From any state. Returns when it is gone. */
export async function destroy(client: PatientClient, id: string): Promise<void> {
	await client.call({ method: "DELETE", path: `/v1/sandboxes/${id}`, expected: [204] });
	await client.call({ method: "GET", path: `/v1/sandboxes/${id}`, expected: [404] });
}

type Way = "captured" | "streamed" | "background";

function toWay(random: Random): Way {
	return random.pick("captured", "streamed", "background");
}

async function run(
	client: PatientClient,
	{
		sandboxId,
		program,
		way,
	}: { readonly sandboxId: string; readonly program: KnownProgram; readonly way: Way },
): Promise<void> {
	if (way === "captured") return runCaptured(client, sandboxId, program);
	if (way === "streamed") return runStreamed(client, sandboxId, program);
	await startInBackground(client, sandboxId, program);
	await follow(client, sandboxId, program);
}

async function runCaptured(client: PatientClient, sandboxId: string, program: KnownProgram): Promise<void> {
	const { id, argv } = program;
	const body = { id, argv, encoding: "base64" };
	const path = `/v1/sandboxes/${sandboxId}/exec`;
	const { json } = await client.call({ method: "POST", path, body, expected: [200] });
	new SeenRun(program).finishCaptured(json);
}

async function runStreamed(client: PatientClient, sandboxId: string, program: KnownProgram): Promise<void> {
	const seen = new SeenRun(program);
	const { id, argv } = program;
	const path = `/v1/sandboxes/${sandboxId}/exec`;
	await client.stream(
		() => ({ method: "POST", path, body: { id, argv }, accept: NDJSON, expected: [200] }),
		(event) => seen.take(event),
	);
}

async function startInBackground(
	client: PatientClient,
	sandboxId: string,
	{ id, argv }: KnownProgram,
): Promise<void> {
	const path = `/v1/sandboxes/${sandboxId}/processes`;
	await client.call({ method: "POST", path, body: { id, argv }, expected: [200, 201] });
}

async function follow(client: PatientClient, sandboxId: string, program: KnownProgram): Promise<void> {
	const seen = new SeenRun(program);
	await client.stream(
		() => {
			const { stdout, stderr } = seen.lengths;
			const query = `follow=true&stdoutAfter=${stdout}&stderrAfter=${stderr}`;
			const path = `/v1/sandboxes/${sandboxId}/processes/${program.id}/output?${query}`;
			return { method: "GET", path, expected: [200] };
		},
		(event) => seen.take(event),
	);
}

/** That each program has run, and once only. */
async function checkRuns(
	client: PatientClient,
	sandboxId: string,
	runs: readonly KnownProgram[],
): Promise<void> {
	const body = { id: "list-runs", argv: ["sort", RUNS_GUEST_PATH] };
	const path = `/v1/sandboxes/${sandboxId}/exec`;
	const { json } = await client.call({ method: "POST", path, body, expected: [200] });
	const expected = runs.map(({ id }) => `${id}\n`).sort();
	if (json.stdout !== expected.join("")) {
		throw new Violation(`${sandboxId}: ran ${JSON.stringify(json.stdout)}, expected ${expected.join("")}`);
	}
}
