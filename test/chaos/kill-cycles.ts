/**
 * npm run chaos -- CYCLES [--workers N] [--seed N]
 *
 * Kills daemons and jailers under load and checks that nothing was lost. Needs root, and the layer 000-base-debian.
 */
import { parseArgs } from "node:util";
import { type ChaosReport, runChaos } from "./chaos-run.ts";

const { values, positionals } = parseArgs({
	options: {
		workers: { type: "string", default: "8" },
		seed: { type: "string", default: String(Date.now() % 2 ** 31) },
	},
	allowPositionals: true,
});
const options = {
	cycles: toCount(positionals[0] ?? "100"),
	workers: toCount(values.workers),
	seed: toCount(values.seed),
};

const say = (line: string) => process.stderr.write(`${line}\n`);
say(`chaos: ${options.cycles} cycles, ${options.workers} workers, --seed ${options.seed}`);
const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
const report = await runChaos({ ...options, signal: interrupted.signal, onProgress: say });
say(summarise(report));
process.exitCode = report.violations.length === 0 ? 0 : 1;

function toCount(text: string): number {
	if (/^\d{1,10}$/.test(text)) return Number(text);
	say(`chaos: "${text}" is not a number. Usage: npm run chaos -- CYCLES [--workers N] [--seed N]`);
	process.exit(2);
}

function summarise({ kills, violations, folder, ...report }: ChaosReport): string {
	const killed = Object.entries(kills).map(([kind, count]) => `${kind} ${count}`);
	return [
		`${report.cycles} cycles in ${report.seconds.toFixed(0)} s; killed: ${killed.join(", ")}`,
		`${report.starts} starts of the daemon, ${report.adopted} sandboxes adopted, ${report.kept} kept to the end`,
		`${report.retries} calls sent again`,
		...violations.map((violation) => `violation: ${violation}`),
		violations.length === 0
			? "nothing lost, wrong or left behind"
			: `FAILED; the daemon's log is in ${folder}`,
	].join("\n");
}
