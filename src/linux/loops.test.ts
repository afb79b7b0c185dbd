import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { listLoops } from "./loops.ts";

test("loop devices are listed with their files, those of removed files too, free ones not", async (t) => {
	const sysPath = mkdtempSync(join(tmpdir(), "shale-loops-"));
	t.after(() => rmSync(sysPath, { recursive: true }));
	for (const name of ["loop0/loop", "loop1/loop", "loop2", "vda"]) {
		mkdirSync(join(sysPath, "block", name), { recursive: true });
	}
	writeFileSync(join(sysPath, "block/loop0/loop/backing_file"), "/layers/a b.squashfs\n");
	writeFileSync(join(sysPath, "block/loop1/loop/backing_file"), "/uppers/x.ext4 (deleted)\n");
	assert.deepEqual(await listLoops(sysPath), [
		{ device: "/dev/loop0", backingHostPath: "/layers/a b.squashfs" },
		{ device: "/dev/loop1", backingHostPath: "/uppers/x.ext4" },
	]);
});
