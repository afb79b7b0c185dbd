/** What a daemon finds that another one left when it was killed. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, it } from "node:test";
import { linkLayers, missingLayers } from "../support/layers.ts";
import { takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { missingRoot } from "../support/requirements.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");
const BASE = "000-base-debian";

describe("a daemon that was killed", { skip: missingRoot() || missingLayers(BASE) }, () => {
	const folder = mkdtempSync(join(tmpdir(), "shale-restart-"));
	before(() => linkLayers(join(folder, "data", "layers"), [BASE]));
	after(() => rmSync(folder, { recursive: true }));

	/** As `shale serve` does it, in a process of its own; the URL is its first line. */
	async function serve(): Promise<{ url: string; daemon: ChildProcess }> {
		const daemon = spawn(process.execPath, [MAIN, "serve", "--listen", "127.0.0.1:0"], {
			stdio: ["ignore", "pipe", "inherit"],
			env: {
				...process.env,
				SHALE_DATA: join(folder, "data"),
				SHALE_RUN: join(folder, "run"),
				SHALE_DEFAULT_LAYERS: BASE,
				SHALE_LOG: "error",
			},
		});
		assert.ok(daemon.stdout);
		const [line] = (await once(createInterface(daemon.stdout), "line")) as [string];
		return { url: line.replace(/^.* /, ""), daemon };
	}

	async function stop(daemon: ChildProcess, signal: NodeJS.Signals): Promise<void> {
		daemon.kill(signal);
		await once(daemon, "exit");
	}

	const create = async (url: string, id: string) => {
		const response = await fetch(`${url}/v1/sandboxes`, {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: JSON.stringify({ id, upper: "disk" }),
		});
		assert.equal(response.status, 201, await response.text());
	};

	it("leaves sandboxes that the next one removes, with their records closed and their ids free", async () => {
		const idle = takeInventory();
		const first = await serve();
		await create(first.url, "left");
		await stop(first.daemon, "SIGKILL");

		const second = await serve();
		assert.equal((await fetch(`${second.url}/v1/sandboxes/left`)).status, 404);
		assert.equal((await fetch(`${second.url}/v1/sandboxes/left`, { method: "DELETE" })).status, 204);
		await create(second.url, "left");
		await stop(second.daemon, "SIGTERM");
		assert.deepEqual(await waitForNoLeaks(idle), []);
	});

	it("does not share its data folder with another one that lives", async () => {
		const first = await serve();
		const second = spawn(process.execPath, [MAIN, "serve", "--listen", "127.0.0.1:0"], {
			stdio: ["ignore", "ignore", "pipe"],
			env: { ...process.env, SHALE_DATA: join(folder, "data"), SHALE_RUN: join(folder, "run") },
		});
		let said = "";
		second.stderr?.on("data", (chunk) => {
			said += chunk;
		});
		const [exitCode] = await once(second, "close");
		assert.equal(exitCode, 5, "conflict");
		assert.match(said, /Another daemon works on this data folder/);
		await create(first.url, "undisturbed");
		await stop(first.daemon, "SIGTERM");
	});

	it("goes on when its jailer was killed, with the sandboxes of before and with new ones", async () => {
		const { url, daemon } = await serve();
		await create(url, "before");
		const children = spawn("pkill", ["-KILL", "-P", String(daemon.pid), "jailer"]);
		await once(children, "exit");
		await create(url, "after");
		for (const id of ["before", "after"]) {
			const response = await fetch(`${url}/v1/sandboxes/${id}/exec`, {
				method: "POST",
				headers: { "content-type": "application/json" },
				body: JSON.stringify({ argv: ["true"] }),
			});
			assert.equal(response.status, 200, await response.text());
			assert.equal((await fetch(`${url}/v1/sandboxes/${id}`, { method: "DELETE" })).status, 204);
		}
		await stop(daemon, "SIGTERM");
	});
});
