/**
 * Fuzzes the daemon's side of the agent protocol: hostile agents for FUZZ_SECONDS (60), from FUZZ_SEED (random). An input
 * that breaks something is left in the folder that is printed; inputs of a new outcome are kept in memory and changed
 * further. `--keep` puts one for each way in which the connection ended into test/fuzz/corpus, which
 * src/agent/hostile-agent.test.ts replays.
 */
import { createHash, randomInt } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { meet } from "./hostile-agent.ts";
import { CONVERSATIONS, mutate, toRandom } from "./hostile-inputs.ts";

const CORPUS_FOLDER = join(import.meta.dirname, "corpus");
/** What may be left of all meetings together. */
const MAX_GROWTH_BYTES = 32 * 2 ** 20;
const MAX_INPUT_BYTES = 96 * 1024;
/** That are changed further; beyond, a new one takes the place of another. */
const MAX_INPUTS = 2000;
/** In the repository. */
const MAX_KEPT_BYTES = 8 * 1024;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const seconds = Number(process.env.FUZZ_SECONDS ?? 60);
const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
const random = toRandom(seed);
const inputs: Uint8Array[] = [
	...CONVERSATIONS,
	...readdirSync(CORPUS_FOLDER).map((name) => readFileSync(join(CORPUS_FOLDER, name))),
];
/** Their digests: the words of many hours are much. */
const outcomes = new Set<string>();
const endings = new Set<string>();
let last: Buffer = Buffer.alloc(0);

process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
say(`FUZZ_SEED=${seed}, ${seconds} s, ${inputs.length} inputs to begin with`);

function say(line: string): void {
	process.stdout.write(`${line}\n`);
}

function fail(error: unknown): never {
	const path = join(mkdtempSync(join(tmpdir(), "shale-fuzz-")), "input");
	writeFileSync(path, last);
	say(inspect(error));
	say(`FUZZ_SEED=${seed}: the input is ${path}`);
	process.exit(1);
}

/** True when nothing before has ended like this. */
async function isNews(input: Buffer): Promise<boolean> {
	last = input;
	const outcome = await meet(input);
	const digest = toName(outcome);
	if (outcomes.has(digest)) return false;
	outcomes.add(digest);
	const ending = /^closed: .*/m.exec(outcome)?.[0] ?? "";
	if (input.length <= MAX_KEPT_BYTES && !endings.has(ending)) {
		endings.add(ending);
		if (process.argv.includes("--keep")) keep(input);
	}
	return true;
}

/** Without the inputs that are kept. */
async function heldBytes(): Promise<number> {
	// Buffers are freed by the second collection, when the first has found their owners gone.
	for (let i = 0; i < 3; i++) {
		collectGarbage();
		await sleep(50);
	}
	const { heapUsed, external } = process.memoryUsage();
	return heapUsed + external - inputs.reduce((sum, { length }) => sum + length, 0);
}

async function fuzz(): Promise<void> {
	for (const input of inputs) await isNews(Buffer.from(input));
	const heldAtFirst = await heldBytes();
	const end = performance.now() + seconds * 1000;
	let count = 0;
	for (; performance.now() < end; count++) {
		const input = mutate(random, inputs);
		if (input.length > MAX_INPUT_BYTES || !(await isNews(input))) continue;
		// In memory of its own, instead of a piece of a pool that it would keep.
		const kept = new Uint8Array(input);
		if (inputs.length < MAX_INPUTS) inputs.push(kept);
		else inputs[CONVERSATIONS.length + random(MAX_INPUTS - CONVERSATIONS.length)] = kept;
	}
	const grownBytes = (await heldBytes()) - heldAtFirst;
	if (grownBytes > MAX_GROWTH_BYTES)
		fail(new Error(`${grownBytes} bytes more are held after ${count} meetings`));
	say(`${count} meetings, ${outcomes.size} outcomes, ${grownBytes} bytes more are held: nothing found`);
}

function keep(input: Buffer): void {
	writeFileSync(join(CORPUS_FOLDER, toName(input)), input);
}

function toName(content: string | Buffer): string {
	return createHash("sha256").update(content).digest("hex").slice(0, 12);
}

await fuzz().catch(fail);
