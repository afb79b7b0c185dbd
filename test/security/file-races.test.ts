/**
 * Symlink races against the calls on files: while a call is made, a program swaps a directory for a symlink that leads to
 * where its own user may not go. Calls are made as a user of the sandbox, and only that keeps the race from being won:
 * each is run as that user, where it must fail, and as root, where it must succeed. What a call finds below its path it
 * never follows, root or not.
 */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type FileRequest, openFileOperation } from "../../src/agent/files.ts";
import { python } from "../support/attack.ts";
import { chunked, type FileOutcome, runFileOperation } from "../support/file-operations.ts";
import { missingLayers } from "../support/layers.ts";
import { type PlanSandbox, startPlanSandbox } from "../support/plan-sandbox.ts";
import { missingRoot } from "../support/requirements.ts";

const ATTACKER = "1000:1000";
const SECRET = "only-root-may-read-this";

/** A vault that only root may enter, and the attacker's folder, in which `spot` is a folder like it, or the way there. */
const SETUP = `umask 077
rm -rf /vault /race
mkdir -p /vault/deep && echo ${SECRET} | tee /vault/victim > /vault/treasure
mkdir -p /race/spot/deep && touch /race/spot/victim && ln -s /vault /race/link
for n in $(seq 0 300); do : > /race/mine-$n; done
chown -hR 1000:1000 /race`;

/** Changes the two for each other, by renameat2(2), some thousand times a second for a minute. */
const SWAP = `
import ctypes, time
libc = ctypes.CDLL(None); end = time.monotonic() + 60
while time.monotonic() < end:
    libc.renameat2(-100, b"/race/spot", -100, b"/race/link", 2)
    time.sleep(0.0003)`;

/** More than enough to win a race that can be won. */
const ATTEMPTS = 300;
/** As many in vain show that it cannot. */
const ATTEMPTS_IN_VAIN = 100;

interface Race {
	/** The n-th attempt's call. */
	request(n: number): FileRequest;
	/** Where it needs data. */
	source?(n: number): Buffer;
	/** Whether it got into the vault, by what the call gave… */
	reachedBy?(outcome: FileOutcome): boolean;
	/** …or by what is in the vault then: prints something. */
	readonly sign?: string;
}

const tellsTheSecret = ({ bytes }: FileOutcome) => bytes.includes(SECRET);

const RACES: Readonly<Record<Exclude<FileRequest["operation"], "watch">, Race>> = {
	stat: {
		request: () => ({ operation: "stat", path: "/race/spot/treasure", followSymlinks: true }),
		reachedBy: ({ infos }) => infos.length > 0,
	},
	list: {
		request: () => ({ operation: "list", path: "/race/spot", depth: 1, limit: 100 }),
		reachedBy: ({ infos }) => infos.some(({ path }) => path === "treasure"),
	},
	read: {
		request: () => ({ operation: "read", path: "/race/spot/victim", offset: 0, length: 1000 }),
		reachedBy: tellsTheSecret,
	},
	write: {
		request: (n) => ({
			operation: "write",
			path: `/race/spot/new-${n}`,
			mode: 0o644,
			parents: true,
			overwrite: true,
		}),
		source: () => Buffer.from("planted"),
		sign: "ls -d /vault/new-*",
	},
	makeDirectory: {
		request: (n) => ({
			operation: "makeDirectory",
			path: `/race/spot/a/made-${n}`,
			mode: 0o755,
			parents: true,
		}),
		sign: "ls -d /vault/a/made-*",
	},
	rename: {
		request: (n) => ({
			operation: "rename",
			path: `/race/mine-${n}`,
			to: "/race/spot/moved",
			overwrite: true,
		}),
		sign: "ls /vault/moved",
	},
	remove: {
		request: () => ({ operation: "remove", path: "/race/spot/victim", recursive: true }),
		sign: "test -e /vault/victim || echo removed",
	},
	setAttributes: {
		request: () => ({ operation: "setAttributes", path: "/race/spot/victim", mode: 0o666 }),
		sign: "find /vault/victim -perm 666",
	},
	archive: {
		request: () => ({ operation: "archive", path: "/race/spot" }),
		reachedBy: tellsTheSecret,
	},
	extract: {
		request: () => ({ operation: "extract", path: "/race/spot/deep" }),
		source: (n) => tarOf(`planted-${n}`),
		sign: "ls -d /vault/deep/planted-*",
	},
};

const skip = missingRoot() || missingLayers("000-base-debian", "100-python3");

describe("a symlink race", { skip }, () => {
	let sandbox: PlanSandbox;
	before(async () => {
		sandbox = await startPlanSandbox();
		await sandbox.exec(["sh", "-c", SETUP]);
		await sandbox.start(python(SWAP), { user: ATTACKER });
	});
	after(() => sandbox?.close());
	beforeEach(async () => {
		// What the calls before have changed.
		const repair = `echo ${SECRET} > /vault/victim; chmod 600 /vault/victim`;
		await sandbox.exec(["sh", "-c", `${repair}; rm -rf /vault/new-* /vault/a /vault/moved /vault/deep/*`]);
	});

	async function attempt(race: Race, n: number, user: string): Promise<boolean> {
		const data = race.source?.(n);
		const options = data ? { user, source: chunked(data) } : { user };
		const outcome = await runFileOperation(sandbox.agent, race.request(n), options).catch(() => undefined);
		return outcome !== undefined && (race.reachedBy?.(outcome) ?? false);
	}

	async function isWon(race: Race, user: string, attempts: number): Promise<boolean> {
		for (let n = 0; n < attempts; n++) {
			if (await attempt(race, n, user)) return true;
			if (race.sign !== undefined && (n % 20 === 19 || n === attempts - 1)) {
				if ((await sandbox.exec(["sh", "-c", `${race.sign} 2>/dev/null`])).output !== "") return true;
			}
		}
		return false;
	}

	for (const [name, race] of Object.entries(RACES)) {
		it(`against ${name}: is lost by a call as the program's own user`, async () => {
			assert.equal(await isWon(race, ATTACKER, ATTEMPTS_IN_VAIN), false);
		});
		it(`against ${name}: would be won if the call were root's`, async () => {
			assert.equal(await isWon(race, "", ATTEMPTS), true);
		});
	}

	async function sawTheVault(user: string, n: number): Promise<boolean> {
		const request = { operation: "watch", path: "/race/spot", recursive: false } as const;
		const watch = openFileOperation(sandbox.agent, request, { user });
		setTimeout(() => watch.close(), 100);
		await sleep(10);
		await sandbox.exec(["touch", `/vault/deep/../seen-${n}`]);
		try {
			for (let record = await watch.next(); record; record = await watch.next()) {
				if (record.type === "event" && record.change.path.startsWith("seen-")) return true;
			}
		} catch {
			// Closed, or refused.
		}
		return false;
	}

	for (const [user, title, expected] of [
		[ATTACKER, "is lost by a call as the program's own user", false],
		["", "would be won if the call were root's", true],
	] as const) {
		it(`against watch: ${title}`, async () => {
			let saw = false;
			for (let n = 0; n < 20 && !saw; n++) saw = await sawTheVault(user, n);
			assert.equal(saw, expected);
		});
	}

	it("inside of what is listed, packed or removed is lost even by root's calls: they follow nothing", async () => {
		for (let n = 0; n < ATTEMPTS_IN_VAIN; n++) {
			const list = { operation: "list", path: "/race", depth: 5, limit: 1000 } as const;
			const found = await runFileOperation(sandbox.agent, list).catch(() => undefined);
			assert.equal(found?.infos.some(({ path }) => path.endsWith("/treasure")) ?? false, false);
			const packed = await runFileOperation(sandbox.agent, { operation: "archive", path: "/race" }).catch(
				() => undefined,
			);
			assert.equal(packed?.bytes.includes(SECRET) ?? false, false);
		}
		const remove = { operation: "remove", path: "/race", recursive: true } as const;
		await runFileOperation(sandbox.agent, remove).catch(() => undefined);
		const { output } = await sandbox.exec(["ls", "/vault"]);
		assert.match(output, /treasure\nvictim/);
	});
});

/** A ustar archive of one file, POSIX.1-2001 pax(1). */
function tarOf(name: string): Buffer {
	const content = "planted";
	const header = Buffer.alloc(512);
	header.write(name, 0);
	header.write("0000644\0", 100);
	header.write("0000000\0", 108);
	header.write("0000000\0", 116);
	header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
	header.write("00000000000\0", 136);
	header.write("        ", 148);
	header.write("0", 156);
	header.write("ustar\x0000", 257);
	const sum = header.reduce((total, byte) => total + byte, 0);
	header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
	const data = Buffer.alloc(512);
	data.write(content);
	return Buffer.concat([header, data, Buffer.alloc(1024)]);
}
