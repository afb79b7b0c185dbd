import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { findAgent } from "../support/agents.ts";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingIdMapping } from "../support/id-mapping.ts";
import { missingLayers } from "../support/layers.ts";
import { takeInventory, waitForNoLeaks } from "../support/leaks.ts";
import { missingRoot } from "../support/requirements.ts";

const skipIds = await missingIdMapping();

describe("sandboxes", { skip: missingRoot() || missingLayers(...TEST_LAYERS) }, () => {
	let daemon: TestDaemon;
	before(async () => {
		daemon = await startTestDaemon();
	});
	after(() => daemon?.stop());

	const post = (body: unknown) => daemon.request("POST", "/v1/sandboxes", body);

	/** `undefined`: until there is none. */
	async function waitForState(id: string, state: string | undefined): Promise<void> {
		let seen: unknown;
		for (let n = 0; n < 200; n++) {
			seen = (await daemon.request("GET", `/v1/sandboxes/${id}`)).json.state;
			if (seen === state) return;
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
		assert.fail(`${id} is ${seen}, and never ${state}`);
	}

	it("are created with the client's id, inspected, listed by label, and destroyed twice", async () => {
		const created = await post({
			id: "mine",
			name: "web",
			labels: { team: "x" },
			workdir: "/tmp",
			user: "1000",
		});
		assert.equal(created.status, 201);
		assert.equal(created.json.state, "running");
		const { json } = await daemon.request("GET", "/v1/sandboxes/mine");
		assert.deepEqual(json, created.json);
		const listed = await daemon.request("GET", "/v1/sandboxes?label=team%3Dx");
		assert.deepEqual(listed.json, { sandboxes: [json], cursor: null });
		assert.equal((await daemon.exec("mine", ["sh", "-c", "pwd; id -u"])).stdout, "/tmp\n1000\n");
		for (const _ of [1, 2]) assert.equal((await daemon.request("DELETE", "/v1/sandboxes/mine")).status, 204);
		assert.equal((await daemon.request("GET", "/v1/sandboxes/mine")).status, 404);
		assert.equal((await daemon.request("DELETE", "/v1/sandboxes/never-was")).status, 404);
	});

	it("of the same id or name are refused while the first lives", async () => {
		await daemon.create({ id: "twin", name: "twin-name" });
		const answers = [await post({ id: "twin" }), await post({ name: "twin-name" })];
		assert.deepEqual(
			answers.map(({ status, json }) => [status, json.code, json.details]),
			[
				[409, "conflict", { taken: "id", id: "twin" }],
				[409, "conflict", { taken: "name", id: "twin" }],
			],
		);
		await daemon.request("DELETE", "/v1/sandboxes/twin");
		await daemon.create({ id: "twin", name: "twin-name" });
		await daemon.request("DELETE", "/v1/sandboxes/twin");
	});

	it("of the same request are made once, also when it is sent again at once", async () => {
		const answers = await Promise.all(Array.from({ length: 5 }, () => post({ id: "race" })));
		for (const { status, json } of answers) {
			assert.equal(status, 201, JSON.stringify(json));
			assert.deepEqual(json, answers[0]?.json);
		}
		await daemon.request("DELETE", "/v1/sandboxes/race");
	});

	it("keep what was written on their disk upper over a stop and a start, and nothing else", async () => {
		const before = takeInventory();
		await daemon.create({ id: "kept", upper: "disk", limits: { diskMiB: 64 } });
		await daemon.exec("kept", ["sh", "-c", "echo one > /note; chown 1000:1000 /note; (sleep 1000 &)"]);
		for (let round = 0; round < 3; round++) {
			const stopped = await daemon.request("POST", "/v1/sandboxes/kept/stop");
			assert.deepEqual([stopped.status, stopped.json.state], [200, "stopped"]);
			const refused = await daemon.request("POST", "/v1/sandboxes/kept/exec", { argv: ["true"] });
			assert.deepEqual([refused.status, refused.json.hint], [409, "Start it: shale start kept"]);
			const started = await daemon.request("POST", "/v1/sandboxes/kept/start");
			assert.deepEqual([started.status, started.json.state], [200, "running"], JSON.stringify(started.json));
			const { stdout } = await daemon.exec("kept", ["sh", "-c", "cat /note; stat -c %u /note; pgrep sleep"]);
			assert.equal(stdout, "one\n1000\n");
		}
		await daemon.request("POST", "/v1/sandboxes/kept/stop");
		assert.equal((await daemon.request("DELETE", "/v1/sandboxes/kept")).status, 204);
		assert.deepEqual(await waitForNoLeaks(before), []);
	});

	it("with a tmpfs upper are not stopped", async () => {
		const id = await daemon.create();
		const { status, json } = await daemon.request("POST", `/v1/sandboxes/${id}/stop`);
		assert.equal(status, 409);
		assert.match(String(json.hint), /upper "disk"/);
		assert.equal((await daemon.exec(id, ["echo", "on"])).stdout, "on\n");
		await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	it("that failed on a disk upper are started again with what was written", async () => {
		const id = await daemon.create({ upper: "disk", limits: { diskMiB: 64 } });
		await daemon.exec(id, ["sh", "-c", "echo kept > /note; sync"]);
		process.kill(findAgent(id), "SIGKILL");
		await waitForState(id, "failed");
		assert.equal((await daemon.request("POST", `/v1/sandboxes/${id}/start`)).json.state, "running");
		assert.equal((await daemon.exec(id, ["cat", "/note"])).stdout, "kept\n");
		await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	it("end with their lifetime, when they are idle, and not while they are used", async () => {
		await daemon.create({ id: "short", lifetimeMs: 700 });
		await daemon.create({ id: "idle", idleTimeoutMs: 700 });
		await daemon.create({ id: "used", idleTimeoutMs: 700 });
		await daemon.create({ id: "longer", lifetimeMs: 700 });
		const extended = await daemon.request("POST", "/v1/sandboxes/longer/extend", { lifetimeMs: 60_000 });
		assert.equal(extended.status, 200);
		// Longer than its idle time, and without a word.
		const using = daemon.exec("used", ["sh", "-c", "sleep 1.5; echo done"]);
		await waitForState("short", undefined);
		await waitForState("idle", undefined);
		assert.equal((await using).stdout, "done\n");
		assert.equal((await daemon.request("GET", "/v1/sandboxes/longer")).json.state, "running");
		await waitForState("used", undefined);
		await daemon.request("DELETE", "/v1/sandboxes/longer");
	});

	it("are stopped at their end when that was asked for", async () => {
		await daemon.create({
			id: "ends",
			upper: "disk",
			limits: { diskMiB: 64 },
			lifetimeMs: 500,
			onExpiry: "stop",
		});
		await waitForState("ends", "stopped");
		const { json } = await daemon.request("GET", "/v1/sandboxes/ends");
		assert.deepEqual([json.reason, json.expiresAt], ["its lifetime ended", null]);
		await daemon.request("DELETE", "/v1/sandboxes/ends");
		const refused = await post({ onExpiry: "stop", lifetimeMs: 500 });
		assert.equal(refused.status, 400);
		assert.match(String(refused.json.message), /^onExpiry: /);
	});

	for (const [title, body, message] of [
		["an id with ..", { id: "../x" }, /id/],
		["an id with /", { id: "a/b" }, /id/],
		["an unknown field", { memory: 5 }, /memory/],
		["an unknown limit", { limits: { memory: 5 } }, /memory/],
		["a wrong type", { layers: "000-base-debian" }, /layers/],
		["a stack without base", { layers: ["100-python3"] }, /layers.*base/],
		["a layer name that is a path", { layers: ["000-base-debian", "../../etc"] }, /layers/],
		["a relative workdir", { workdir: "tmp" }, /workdir/],
		["an unknown backend", { backend: "vax" }, /backend/],
		["a variable name with =", { env: { "A=B": "1" } }, /env/],
	] as const) {
		it(`with ${title} are refused by field, and nothing is made`, async () => {
			const { status, json } = await post(body);
			assert.equal(status, 400, JSON.stringify(json));
			assert.equal(json.code, "invalid_argument");
			assert.match(String(json.message), message);
			assert.deepEqual((await daemon.request("GET", "/v1/sandboxes")).json.sandboxes, []);
		});
	}

	it("with a layer that is missing are refused and told how to make it", async () => {
		const { status, json } = await post({ layers: ["000-base-debian", "100-missing"] });
		assert.equal(status, 404);
		assert.match(String(json.message), /100-missing/);
		assert.match(String(json.hint), /shale layers build/);
	});

	it("with a damaged or truncated layer are refused, and nothing is left behind", async () => {
		const folder = join(daemon.folder, "data", "layers");
		const image = join(folder, "200-hurt.squashfs");
		execFileSync("mksquashfs", [
			join(import.meta.dirname, "../support"),
			join(daemon.folder, "image"),
			"-quiet",
		]);
		const put = await fetch(`${daemon.url}/v1/layers/200-hurt`, {
			method: "PUT",
			headers: { "content-type": "application/octet-stream" },
			body: readFileSync(join(daemon.folder, "image")),
		});
		assert.equal(put.status, 201);
		const whole = join(daemon.folder, "whole");
		copyFileSync(image, whole);
		const size = statSync(image).size;
		for (const damage of [
			() => truncateSync(image, size - 4096),
			() => {
				copyFileSync(whole, image);
				execFileSync("dd", [
					"if=/dev/urandom",
					`of=${image}`,
					"bs=64",
					"seek=8",
					"count=1",
					"conv=notrunc",
					"status=none",
				]);
			},
			() => rmSync(image),
			() => writeFileSync(image, ""),
		]) {
			damage();
			const { status, json } = await post({ layers: ["000-base-debian", "200-hurt"] });
			assert.equal(status, 422, JSON.stringify(json));
			assert.equal(json.code, "layer_damaged");
			assert.match(String(json.message), /200-hurt/);
		}
		copyFileSync(whole, image);
		const id = await daemon.create({ layers: ["000-base-debian", "200-hurt"] });
		assert.equal((await daemon.request("DELETE", "/v1/layers/200-hurt")).status, 409, "in use");
		await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	it("that die by themselves are failed with the reason, and can be destroyed", async () => {
		const id = await daemon.create();
		const { json } = await daemon.request("GET", `/v1/sandboxes/${id}/processes`);
		assert.deepEqual(json, { processes: [] });
		process.kill(findAgent(id), "SIGKILL");
		await waitForState(id, "failed");
		const failed = await daemon.request("GET", `/v1/sandboxes/${id}`);
		assert.equal(failed.json.state, "failed");
		assert.match(String(failed.json.reason), /SIGKILL/);
		const refused = await daemon.request("POST", `/v1/sandboxes/${id}/exec`, { argv: ["true"] });
		assert.equal(refused.status, 409);
		assert.match(String(refused.json.message), /SIGKILL/);
		assert.equal((await daemon.request("DELETE", `/v1/sandboxes/${id}`)).status, 204);
	});

	it("that are destroyed under a running program say so to its client", async () => {
		const id = await daemon.create();
		const running = daemon.request("POST", `/v1/sandboxes/${id}/exec`, { argv: ["sleep", "1000"] });
		const streaming = fetch(`${daemon.url}/v1/sandboxes/${id}/exec`, {
			method: "POST",
			headers: { "content-type": "application/json", accept: "application/x-ndjson" },
			body: JSON.stringify({ argv: ["sleep", "1000"] }),
		}).then((response) => response.text());
		await new Promise((resolve) => setTimeout(resolve, 100));
		assert.equal((await daemon.request("DELETE", `/v1/sandboxes/${id}`)).status, 204);
		assert.match(await streaming, /"type":"error","code":"(?:conflict|not_found)"/);
		const { status, json } = await running;
		assert.ok(status === 409 || status === 404, `${status}: ${JSON.stringify(json)}`);
		assert.match(String(json.message), new RegExp(`no sandbox ${id}|sandbox ${id} is destroy`));
	});

	it("have host user ids of their own, so that files of one are nobody's in another", {
		skip: skipIds,
	}, async () => {
		const [first, second] = [await daemon.create(), await daemon.create()];
		const idsOf = async (id: string) => String((await daemon.exec(id, ["cat", "/proc/self/uid_map"])).stdout);
		const [firstIds, secondIds] = [await idsOf(first), await idsOf(second)];
		assert.match(firstIds, /^\s+0\s+\d{10}\s+65536\n$/);
		assert.notEqual(firstIds, secondIds);
		for (const id of [first, second]) await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	it("see what they wrote and never change their layers", async () => {
		const first = await daemon.create();
		await daemon.exec(first, ["sh", "-c", "echo changed > /etc/debian_version; rm /bin/ls; mkdir /new"]);
		assert.equal((await daemon.exec(first, ["cat", "/etc/debian_version"])).stdout, "changed\n");
		const second = await daemon.create();
		assert.notEqual((await daemon.exec(second, ["cat", "/etc/debian_version"])).stdout, "changed\n");
		assert.equal((await daemon.exec(second, ["ls", "-d", "/new"])).exitCode, 2);
		for (const id of [first, second]) await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	it("explain themselves as a plan, and the plan of what would be made makes nothing", async () => {
		const response = await fetch(`${daemon.url}/v1/plan`, {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: "{}",
		});
		assert.equal(response.status, 200);
		assert.match(await response.text(), /^clone (user )?mount pid net ipc uts cgroup time/m);
		assert.deepEqual((await daemon.request("GET", "/v1/sandboxes")).json.sandboxes, []);
	});

	it("leave nothing behind after 100 cycles of create, exec and destroy, several at once", async () => {
		await daemon.exec(await daemon.create({ id: "warm" }), ["true"]);
		await daemon.request("DELETE", "/v1/sandboxes/warm");
		const before = takeInventory();
		const cycle = async () => {
			const id = await daemon.create({ upper: Math.random() < 0.1 ? "disk" : "tmpfs" });
			assert.equal((await daemon.exec(id, ["echo", id])).stdout, `${id}\n`);
			assert.equal((await daemon.request("DELETE", `/v1/sandboxes/${id}`)).status, 204);
		};
		const worker = async () => {
			for (let n = 0; n < 25; n++) await cycle();
		};
		await Promise.all([worker(), worker(), worker(), worker()]);
		assert.deepEqual(await waitForNoLeaks(before), []);
	});
});
