/** Watching with the real agent. */

import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { collectRecords } from "../../test/support/file-operations.ts";
import { missingAgent, type RealAgent, startAgent } from "../../test/support/real-agent.ts";
import type { AgentConnection } from "./connection.ts";
import { type FileOperation, openFileOperation } from "./files.ts";

describe("watching by an agent", { skip: missingAgent() }, () => {
	let agent: RealAgent;
	let connection: AgentConnection;
	let directory: string;
	let operation: FileOperation | undefined;

	before(async () => {
		agent = await startAgent();
	});
	after(() => agent.stop());
	beforeEach(async () => {
		connection = await agent.open();
		directory = fs.mkdtempSync(join(tmpdir(), "shale-watch-"));
	});
	afterEach(() => {
		operation?.close();
		connection.close();
		fs.rmSync(directory, { recursive: true, force: true });
	});

	const at = (name: string) => join(directory, name);

	async function watch(path: string, recursive = false): Promise<FileOperation> {
		operation = openFileOperation(connection, { operation: "watch", path, recursive }, { user: "" });
		await operation.info();
		return operation;
	}

	/** The events up to the one of this path, as "type path", directories with a slash. */
	async function eventsUntil(watching: FileOperation, last: string): Promise<string[]> {
		const events: string[] = [];
		for (;;) {
			const record = await watching.next();
			assert.equal(record?.type, "event");
			const { type, path, isDirectory } = record.change;
			events.push(`${type} ${path}${isDirectory ? "/" : ""}`);
			if (path === last) return events;
		}
	}

	test("what happens in a directory is told, in order", async () => {
		fs.writeFileSync(at("old"), "");
		const watching = await watch(directory);
		fs.writeFileSync(at("file"), "content");
		fs.renameSync(at("file"), at("moved"));
		fs.unlinkSync(at("old"));
		fs.chmodSync(at("moved"), 0o600);
		fs.mkdirSync(at("end"));
		const events = await eventsUntil(watching, "end");
		assert.deepEqual(
			events.filter((event, i) => event !== events[i - 1]),
			[
				"created file",
				"modified file",
				"moved_from file",
				"moved_to moved",
				"removed old",
				"modified moved",
				"created end/",
			],
		);
	});

	test("directories below are watched when asked, also new and moved ones", async () => {
		fs.mkdirSync(at("a/b"), { recursive: true });
		const flat = await watch(directory);
		fs.writeFileSync(at("a/b/unseen"), "");
		fs.writeFileSync(at("seen"), "");
		assert.deepEqual(await eventsUntil(flat, "seen"), ["created seen"]);
		flat.close();

		const watching = await watch(directory, true);
		fs.writeFileSync(at("a/b/file"), "");
		assert.deepEqual(await eventsUntil(watching, "a/b/file"), ["created a/b/file"]);
		fs.mkdirSync(at("new/deep/deeper"), { recursive: true });
		assert.ok((await eventsUntil(watching, "new/deep/deeper")).includes("created new/deep/deeper/"));
		fs.writeFileSync(at("new/deep/deeper/file"), "");
		await eventsUntil(watching, "new/deep/deeper/file");
		fs.renameSync(at("new/deep"), at("a/moved"));
		await eventsUntil(watching, "a/moved");
		fs.writeFileSync(at("a/moved/deeper/later"), "");
		const events = await eventsUntil(watching, "a/moved/deeper/later");
		assert.ok(events.includes("created a/moved/deeper/later"));
	});

	test("a single file is watched, and its end is the end", async () => {
		fs.writeFileSync(at("file"), "");
		const watching = await watch(at("file"));
		fs.appendFileSync(at("file"), "more");
		assert.deepEqual(await eventsUntil(watching, ""), ["modified "]);
		fs.unlinkSync(at("file"));
		const { events } = await collectRecords(watching);
		assert.equal(events.at(-1)?.type, "removed");
	});

	test("the end of a watched directory is the end", async () => {
		fs.mkdirSync(at("gone"));
		const watching = await watch(at("gone"), true);
		fs.rmdirSync(at("gone"));
		const { events } = await collectRecords(watching);
		assert.deepEqual(events, [{ type: "removed", path: "", isDirectory: true }]);
	});

	test("more events than are kept for a reader that does not read are an overflow, and it goes on", async () => {
		const queued = Number(fs.readFileSync("/proc/sys/fs/inotify/max_queued_events", "utf8"));
		const name = "n".repeat(200);
		const watching = await watch(directory);
		// Two events a round. The window of the tunnel and the socket take some, the queue the rest.
		for (let i = 0; i < queued + 10_000; i++) {
			fs.writeFileSync(at(`${name}${i}`), "");
			fs.unlinkSync(at(`${name}${i}`));
		}
		const types = new Set<string>();
		let isWaiting = true;
		while (isWaiting) {
			const record = await watching.next();
			assert.equal(record?.type, "event");
			types.add(record.change.type);
			isWaiting = record.change.type !== "overflow";
		}
		fs.writeFileSync(at("after"), "");
		await eventsUntil(watching, "after");
		assert.deepEqual([...types].sort(), ["created", "overflow", "removed"]);
	});

	test("what cannot be watched is refused", async () => {
		await assert.rejects(watch(at("nothing")), { errnoName: "ENOENT" });
	});
});
