import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startDaemon } from "./daemon-autostart.ts";

/** Takes its data folder as the daemon does, serves after a moment, and ends by itself at `/stop`. */
const FAKE_DAEMON = `
import { createServer } from "node:http";
import { writeFileSync } from "node:fs";
try { writeFileSync(process.env.SHALE_DATA + "/lock", String(process.pid), { flag: "wx" }); }
catch { console.error("the data folder is taken"); process.exit(5); }
console.error("starting");
const [host, port] = process.env.SHALE_LISTEN.split(":");
const server = createServer((request, response) => {
	response.end("ok", () => { if (request.url === "/stop") process.exit(); });
});
setTimeout(() => server.listen(Number(port), host), 100);
setTimeout(() => process.exit(), 20_000);
`;

let folder = "";
let script = "";

before(async () => {
	folder = await mkdtemp(join(tmpdir(), "shale-autostart-"));
	script = join(folder, "daemon.mjs");
	await writeFile(script, FAKE_DAEMON);
});

after(() => rm(folder, { recursive: true }));

async function freePort(): Promise<number> {
	const server = createServer().listen(0, "127.0.0.1");
	await new Promise((resolve) => server.once("listening", resolve));
	const address = server.address();
	await new Promise((resolve) => server.close(resolve));
	return typeof address === "object" && address ? address.port : 0;
}

async function answers(url: string): Promise<boolean> {
	try {
		await (await fetch(url)).text();
		return true;
	} catch {
		return false;
	}
}

test("two verbs that start a daemon at once end up with one, and both go on", async () => {
	const listen = `127.0.0.1:${await freePort()}`;
	const url = `http://${listen}`;
	const data = join(folder, "race");
	const options = { listen, data, isUp: () => answers(url), command: [process.execPath, script] as const };
	await Promise.all([startDaemon(options), startDaemon(options)]);
	assert.ok(await answers(url));
	const log = await readFile(join(data, "daemon.log"), "utf8");
	assert.deepEqual(log.split("\n").toSorted(), ["", "starting", "the data folder is taken"]);
	await answers(`${url}/stop`);
});

test("a daemon that ends is reported with its last words", async () => {
	const command = [process.execPath, "-e", "console.error('no jailer'); process.exitCode = 6"] as const;
	const options = { listen: "127.0.0.1:9", data: join(folder, "ends"), isUp: async () => false, command };
	await assert.rejects(startDaemon(options), (error: Error) => {
		assert.match(error.message, /^the daemon did not start; it said:\nno jailer$/);
		return true;
	});
});

test("a daemon that stays silent is given up at the deadline", async () => {
	const command = [process.execPath, "-e", "setTimeout(() => undefined, 1000)"] as const;
	const options = { listen: "127.0.0.1:9", data: join(folder, "silent"), isUp: async () => false, command };
	await assert.rejects(
		startDaemon({ ...options, deadlineMs: 200 }),
		/did not answer at 127\.0\.0\.1:9 in 0\.2 s/,
	);
});

test("a program that is not there and a data folder that cannot be made are told", async () => {
	const isUp = async (): Promise<boolean> => false;
	const missing = { listen: "127.0.0.1:9", data: join(folder, "missing"), isUp, command: ["/none"] as const };
	await assert.rejects(startDaemon(missing), { code: "unavailable", message: /ENOENT/ });
	await assert.rejects(startDaemon({ ...missing, data: join(script, "x") }), { code: "unavailable" });
});
