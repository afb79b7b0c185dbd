import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createLog } from "./log.ts";

const folder = mkdtempSync(join(tmpdir(), "shale-log-"));
after(() => rmSync(folder, { recursive: true }));

test("a log is lines of JSON, of its level and above", () => {
	const hostPath = join(folder, "lines");
	const fd = openSync(hostPath, "a");
	const log = createLog("warn", { fd });
	log.info("not told");
	log.warn({ sandbox: "a" }, "told");
	closeSync(fd);
	const [line = "", rest] = readFileSync(hostPath, "utf8").split("\n");
	assert.deepEqual([JSON.parse(line).msg, JSON.parse(line).sandbox, rest], ["told", "a", ""]);
});

test("a file is begun anew when it has grown too long, and its newest lines are there", () => {
	const hostPath = join(folder, "long");
	const fd = openSync(hostPath, "a");
	const maxFileBytes = 256 * 1024;
	const log = createLog("info", { fd, maxFileBytes });
	for (let n = 0; n < 2000; n++) {
		log.info({ n, padding: "x".repeat(1000) });
		assert.ok(statSync(hostPath).size < maxFileBytes * 1.25);
	}
	closeSync(fd);
	const last = readFileSync(hostPath, "utf8").trimEnd().split("\n").at(-1) ?? "";
	assert.equal(JSON.parse(last).n, 1999);
});

test("a line that cannot be written is lost, and the next one is tried", () => {
	const fd = openSync("/dev/full", "w");
	const log = createLog("info", { fd });
	log.info("no space is left");
	log.info("still none");
	closeSync(fd);
});
