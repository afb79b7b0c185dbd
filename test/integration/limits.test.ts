import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

describe("limits", { skip: missingRoot() || missingLayers(...TEST_LAYERS) }, () => {
	let daemon: TestDaemon;
	before(async () => {
		daemon = await startTestDaemon();
	});
	after(() => daemon?.stop());

	it("a program over the memory limit is killed, and the next one runs", async () => {
		const id = await daemon.create({ limits: { memoryMiB: 64 } });
		const result = await daemon.exec(id, ["python3", "-c", "x = bytearray(200 << 20)"]);
		assert.equal(result.exitCode, 137);
		assert.equal((await daemon.exec(id, ["echo", "alive"])).stdout, "alive\n");
		const { json } = await daemon.request("GET", `/v1/sandboxes/${id}/stats`);
		assert.equal(json.memoryLimitBytes, 64 << 20);
		assert.ok(Number(json.oomKills) >= 1, JSON.stringify(json));
		await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	it("a fork bomb is held at the limit of processes, and the next program runs", async () => {
		const id = await daemon.create({ limits: { processes: 20 } });
		const bomb =
			"import os\nn = 0\ntry:\n  while True:\n    if os.fork() == 0:\n      import time; time.sleep(60)\n    n += 1\nexcept OSError as e: print(n, e.errno)";
		const { stdout } = await daemon.exec(id, ["python3", "-c", bomb], { timeoutMs: 10_000 });
		assert.match(String(stdout), /^1\d 11\n$/, "EAGAIN below 20");
		await daemon.exec(id, ["true"]);
		await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	for (const upper of ["tmpfs", "disk"]) {
		it(`the writable layer on ${upper} holds its quota`, async () => {
			const id = await daemon.create({ upper, limits: { diskMiB: 16 } });
			const { exitCode, stderr } = await daemon.exec(id, [
				"dd",
				"if=/dev/zero",
				"of=/fill",
				"bs=1M",
				"count=64",
			]);
			assert.equal(exitCode, 1);
			assert.match(String(stderr), /No space left on device/);
			const { stdout } = await daemon.exec(id, ["stat", "-c", "%s", "/fill"]);
			const written = Number(stdout);
			assert.ok(written > 8 << 20 && written <= 16 << 20, `${written} bytes were written`);
			await daemon.request("DELETE", `/v1/sandboxes/${id}`);
		});
	}

	it("CPU time is held at the limit", async () => {
		const id = await daemon.create({ limits: { cpuMillis: 200 } });
		const spin =
			"import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(time.process_time())";
		const { stdout } = await daemon.exec(id, ["python3", "-c", spin]);
		assert.ok(Number(stdout) < 0.5, `used ${stdout} s of CPU in one second at 0.2 cores`);
		const { json } = await daemon.request("GET", `/v1/sandboxes/${id}/stats`);
		assert.ok(Number(json.cpuThrottledUs) > 0);
		await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	it("open files are held at the limit, which nothing inside can raise", async () => {
		const id = await daemon.create({ limits: { openFiles: 64 } });
		const open =
			"import os\nn = 0\ntry:\n  while True: os.open('/dev/null', 0); n += 1\nexcept OSError as e: print(n, e.errno)";
		assert.match(
			String((await daemon.exec(id, ["python3", "-c", open])).stdout),
			/^6\d 24\n$/,
			"EMFILE below 64",
		);
		assert.notEqual((await daemon.exec(id, ["sh", "-c", "ulimit -n 1000"])).exitCode, 0);
		await daemon.request("DELETE", `/v1/sandboxes/${id}`);
	});

	for (const [field, value] of [
		["memoryMiB", 1 << 30],
		["cpuMillis", 1_000_000],
		["processes", 1 << 30],
		["openFiles", 1 << 30],
		["diskMiB", 1 << 30],
		["memoryMiB", 0],
		["memoryMiB", -1],
		["memoryMiB", 1.5],
		["memoryMiB", "64"],
	] as const) {
		it(`limits.${field} = ${JSON.stringify(value)} is refused by name`, async () => {
			const { status, json } = await daemon.request("POST", "/v1/sandboxes", { limits: { [field]: value } });
			assert.equal(status, 400, JSON.stringify(json));
			assert.equal(json.code, "invalid_argument");
			assert.match(String(json.message), new RegExp(`limits\\.${field}`));
		});
	}
});
