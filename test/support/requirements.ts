/** Why a test cannot run on this machine, or false: for node:test's `skip`. SHALE_TEST_MUST_RUN allows none. */
import { spawnSync } from "node:child_process";

export function missingRoot(): string | false {
	return unmet(process.getuid?.() === 0, "root");
}

export function missingCommand(name: string): string | false {
	return unmet(spawnSync("which", [name]).status === 0, `the command ${name}`);
}

function unmet(isMet: boolean, what: string): string | false {
	if (isMet) return false;
	if (process.env.SHALE_TEST_MUST_RUN)
		throw new Error(`SHALE_TEST_MUST_RUN is set, but this test needs ${what}`);
	return `needs ${what}`;
}
