/**
 * A program of the sandbox swaps a directory for a symlink while operations run in it. What it can reach for itself it may
 * have; what must never happen is that an operation for somebody else does its work behind the symlink.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { chunked, runFileOperation } from "../../test/support/file-operations.ts";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import type { AgentConnection } from "./connection.ts";
import type { FileRequest } from "./files.ts";

const ROUNDS = 150;

/** Swaps `flip` for a symlink to `victim` and back, until it is killed. */
const RACER = `
const fs = require("node:fs");
const [, directory] = process.argv;
const flip = directory + "/flip", aside = directory + "/aside";
for (;;) {
	try {
		fs.renameSync(flip, aside);
		fs.symlinkSync("../victim", flip);
	} catch {}
	try {
		fs.unlinkSync(flip);
	} catch {}
	try {
		fs.renameSync(aside, flip);
	} catch {
		try {
			fs.mkdirSync(flip);
			fs.writeFileSync(flip + "/file", "");
		} catch {}
	}
}`;

describe("races with an agent's file operations", { skip: missingAgent() }, () => {
	let agent: RealAgent;
	let connection: AgentConnection;
	let directory: string;
	let racer: ReturnType<typeof spawn>;

	before(async () => {
		agent = await startAgent();
	});
	after(() => agent.stop());
	beforeEach(async () => {
		connection = await agent.open();
		directory = fs.mkdtempSync(join(tmpdir(), "shale-races-"));
		fs.mkdirSync(at("victim"));
		fs.writeFileSync(at("victim/kept"), "kept");
		fs.mkdirSync(at("work/flip"), { recursive: true });
		racer = spawn(process.execPath, ["-e", RACER, at("work")], { stdio: "ignore" });
		await once(racer, "spawn");
	});
	afterEach(async () => {
		connection.close();
		racer.kill("SIGKILL");
		if (racer.exitCode === null && racer.signalCode === null) await once(racer, "exit");
		fs.rmSync(directory, { recursive: true, force: true });
	});

	const at = (name: string) => join(directory, name);

	/** How many rounds succeeded. Those that met the racer at the wrong moment may fail, in the sandbox's own words. */
	async function repeat(request: FileRequest, content?: Buffer): Promise<number> {
		let succeeded = 0;
		for (let round = 0; round < ROUNDS; round++) {
			const source = content ? { source: chunked(content) } : {};
			const error = await runFileOperation(connection, request, source).then(
				() => undefined,
				(reason: unknown) => reason,
			);
			if (!error) succeeded++;
			else assert.equal(Reflect.get(error as object, "name"), "FileOperationError", String(error));
		}
		return succeeded;
	}

	const isUntouched = () => {
		assert.deepEqual(fs.readdirSync(at("victim")), ["kept"]);
		assert.equal(fs.readFileSync(at("victim/kept"), "utf8"), "kept");
	};

	test("an archive is extracted beneath its directory, whatever its directories become meanwhile", async () => {
		// Ten files in flip/, by ustar headers of one block each.
		const entry = (name: string) => {
			const block = Buffer.alloc(512);
			block.write(name, 0);
			block.write("0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00", 100);
			block.write("        0", 148);
			block.write("ustar\x0000", 257, "latin1");
			const sum = block.reduce((total, byte) => total + byte, 0);
			block.write(`${sum.toString(8).padStart(6, "0")}\0`, 148);
			return block;
		};
		const entries = Array.from({ length: 10 }, (_, i) => entry(`flip/${i % 5}/${i}`));
		const bytes = Buffer.concat([...entries, Buffer.alloc(1024)]);
		const succeeded = await repeat({ operation: "extract", path: at("work") }, bytes);
		isUntouched();
		assert.ok(succeeded > 0);
	});

	test("a tree is removed without what its directories are swapped for", async () => {
		for (let round = 0; round < ROUNDS; round++) {
			fs.mkdirSync(at("work"), { recursive: true });
			// The link itself is gone with the tree, or was made again; the victim must stay.
			const request = { operation: "remove", path: at("work"), recursive: true } as const;
			await runFileOperation(connection, request).catch(() => undefined);
			assert.deepEqual(fs.readdirSync(at("victim")), ["kept"]);
		}
		isUntouched();
	});

	test("a file is written whole in the one place or the other, and nothing is left beside it", async () => {
		const content = Buffer.alloc(200_000, "x");
		const request = {
			operation: "write",
			path: at("work/flip/file"),
			mode: 0o644,
			parents: false,
			overwrite: true,
		} as const;
		const succeeded = await repeat(request, content);
		assert.ok(succeeded > 0);
		racer.kill("SIGSTOP");
		const found: string[] = [];
		for (const name of ["victim", "work", "work/flip", "work/aside"]) {
			if (!fs.existsSync(at(name))) continue;
			for (const file of fs.readdirSync(at(name))) {
				assert.ok(!file.startsWith(".shale-"), file);
				if (file === "file") found.push(join(name, file));
			}
		}
		for (const name of found) assert.ok(fs.readFileSync(at(name)).equals(content), name);
		racer.kill("SIGCONT");
	});
});
