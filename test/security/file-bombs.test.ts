/** Trees, names, files and archives that are made to be too much for whoever reads, packs or removes them. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { FileOperationError, type FileRequest, openFileOperation } from "../../src/agent/files.ts";
import { python } from "../support/attack.ts";
import { chunked, type FileOutcome, runFileOperation } from "../support/file-operations.ts";
import { missingLayers } from "../support/layers.ts";
import { type PlanSandbox, startPlanSandbox } from "../support/plan-sandbox.ts";
import { missingRoot } from "../support/requirements.ts";

const MIB = 1024 * 1024;
/** Far deeper than a path can name, whose limit is 4096 bytes. */
const DEPTH = 3000;
const FILES = 10_000;

const DEEP = `import os
os.mkdir("/deep"); os.chdir("/deep")
for n in range(${DEPTH}): os.mkdir("d" * 50); os.chdir("d" * 50)
open("bottom", "w").close()`;

const WIDE = `import os
os.mkdir("/wide")
for n in range(${FILES}): open("/wide/%0250d" % n, "w").close()`;

describe("a bomb of files", {
	skip: missingRoot() || missingLayers("000-base-debian", "100-python3"),
}, () => {
	let sandbox: PlanSandbox;
	before(async () => {
		sandbox = await startPlanSandbox();
		for (const code of [DEEP, WIDE]) assert.equal((await sandbox.exec(python(code))).exitCode, 0);
	});
	after(() => sandbox?.close());

	const run = (request: FileRequest, source?: Buffer): Promise<FileOutcome> =>
		runFileOperation(sandbox.agent, request, source ? { source: chunked(source) } : {});

	/** What came over the connection meanwhile. */
	async function received(work: () => Promise<unknown>): Promise<number> {
		const before = sandbox.bytesReceived();
		await work();
		return sandbox.bytesReceived() - before;
	}

	const list = (path: string, { depth, limit }: { readonly depth: number; readonly limit: number }) =>
		run({ operation: "list", path, depth, limit });

	it("of depth is listed to the depth that was asked for", async () => {
		const { infos } = await list("/deep", { depth: 64, limit: 1000 });
		assert.equal(infos.filter(({ path }) => path !== "").length, 64);
	});

	it("of depth is packed, or refused by its name's length, and removed, though no path reaches its bottom", async () => {
		const packed = await run({ operation: "archive", path: "/deep" }).then(
			() => "packed",
			(error: unknown) => (error instanceof FileOperationError ? error.errnoName : String(error)),
		);
		assert.match(packed, /^(packed|ENAMETOOLONG|ELOOP|EMFILE)$/);
		await run({ operation: "remove", path: "/deep", recursive: true });
		assert.equal((await sandbox.exec(["ls", "/deep"])).exitCode, 2, "it is gone");
	});

	it("of names is listed as far as was asked for, and costs no more", async () => {
		const bytes = await received(async () => {
			const { infos } = await list("/wide", { depth: 1, limit: 100 });
			assert.ok(infos.length <= 102, `${infos.length} entries`);
		});
		assert.ok(bytes < 200_000, `${bytes} bytes`);
		// Without the limit all of it would come.
		assert.ok((await received(() => list("/wide", { depth: 1, limit: FILES }))) > 2 * MIB);
	});

	it("of one huge file costs nobody who does not read memory, and its worker ends with the call", async () => {
		assert.equal((await sandbox.exec(["truncate", "-s", "1T", "/huge"])).exitCode, 0);
		for (const request of [
			{ operation: "read", path: "/huge", offset: 0, length: Number.MAX_SAFE_INTEGER },
			{ operation: "archive", path: "/huge" },
		] as const) {
			const bytes = await received(async () => {
				const operation = openFileOperation(sandbox.agent, request, { user: "" });
				await sleep(300);
				operation.close();
			});
			assert.ok(bytes < 2 * MIB, `${bytes} bytes`);
		}
		await sleep(200);
		const { output } = await sandbox.exec(["sh", "-c", "ls -d /proc/[0-9]*"]);
		assert.ok(output.trim().split("\n").length <= 3, output);
	});

	it("in an archive fills the disk, is told so, and is removed", async () => {
		const size = 100 * MIB;
		const header = Buffer.alloc(512);
		header.write("bomb", 0);
		header.write("0000644\0", 100);
		header.write("0000000\0", 108);
		header.write("0000000\0", 116);
		header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
		header.write("00000000000\0", 136);
		header.write(`        0`, 148);
		header.write("ustar\x0000", 257);
		const sum = header.reduce((total, byte) => total + byte, 0);
		header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
		const bomb = Buffer.concat([header, Buffer.alloc(size)]);
		await assert.rejects(run({ operation: "extract", path: "/unpacked" }, bomb), { errnoName: "ENOSPC" });
		await run({ operation: "remove", path: "/unpacked", recursive: true });
		assert.equal((await sandbox.exec(["sh", "-c", "echo room > /room && cat /room"])).output, "room\n");
	});

	it("that would never end, a fifo or a device, is refused", async () => {
		await sandbox.exec(["mkfifo", "/fifo"]);
		for (const path of ["/fifo", "/dev/zero", "/dev/ptmx"]) {
			const read = { operation: "read", path, offset: 0, length: 10 } as const;
			await assert.rejects(run(read), FileOperationError, path);
		}
	});
});
