import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { readConfig } from "./config.ts";

describe("readConfig", () => {
	const folder = mkdtempSync(join(tmpdir(), "shale-config-"));
	after(() => rmSync(folder, { recursive: true }));

	function file(text: string): string {
		const hostPath = join(folder, "config.toml");
		writeFileSync(hostPath, text);
		return hostPath;
	}

	it("takes the environment over the file over the default", async () => {
		const config = await readConfig({
			SHALE_CONFIG: file('data = "/from/file"\nrun = "/from/file"'),
			SHALE_RUN: "/from/env",
		});
		assert.equal(config.data, "/from/file");
		assert.equal(config.run, "/from/env");
		assert.equal(config.listenPort, 7522);
	});

	it("reads a list of layers from either", async () => {
		const fromFile = await readConfig({ SHALE_CONFIG: file('defaultLayers = ["000-a", "100-b"]') });
		const fromEnv = await readConfig({ SHALE_DEFAULT_LAYERS: "000-a, 100-b" });
		assert.deepEqual(fromFile.defaultLayers, ["000-a", "100-b"]);
		assert.deepEqual(fromEnv.defaultLayers, ["000-a", "100-b"]);
	});

	it("takes a user by name or by number", async () => {
		const fromFile = await readConfig({ SHALE_CONFIG: file("user = 1000") });
		const fromEnv = await readConfig({ SHALE_USER: "shale:100" });
		assert.deepEqual(
			[fromFile.user, fromEnv.user, (await readConfig({})).user],
			["1000", "shale:100", undefined],
		);
	});

	it("reads thresholds from either, and has defaults that let sandboxes in", async () => {
		const fromFile = await readConfig({ SHALE_CONFIG: file("minFreeMemoryMiB = 0\nmaxIoPressure = 12.5") });
		const fromEnv = await readConfig({ SHALE_MIN_FREE_MEMORY_MIB: "64", SHALE_MAX_SANDBOXES: "10" });
		assert.deepEqual([fromFile.minFreeMemoryMiB, fromFile.maxIoPressure], [0, 12.5]);
		assert.deepEqual([fromEnv.minFreeMemoryMiB, fromEnv.maxSandboxes], [64, 10]);
		assert.deepEqual([fromEnv.maxIoPressure, fromEnv.maxCpuPressure, fromFile.maxSandboxes], [100, 100, 0]);
	});

	for (const [title, env, message] of [
		["an unknown setting", { SHALE_CONFIG: join(folder, "unknown.toml") }, /"datum"/],
		["a relative folder", { SHALE_DATA: "data" }, /^SHALE_DATA: must be an absolute path/],
		["an address without port", { SHALE_LISTEN: "127.0.0.1" }, /not HOST:PORT/],
		["a public address without a token", { SHALE_LISTEN: "0.0.0.0:7522" }, /only loopback/],
		["a pressure over 100 %", { SHALE_MAX_IO_PRESSURE: "101" }, /^SHALE_MAX_IO_PRESSURE: .*100/],
		["a threshold that is no number", { SHALE_MIN_FREE_DISK_MIB: "1g" }, /^SHALE_MIN_FREE_DISK_MIB: /],
		["a user that is none", { SHALE_USER: "shale:" }, /^SHALE_USER: must be a name or a uid/],
		["a threshold below 0", { SHALE_MAX_SANDBOXES: "-1" }, /^SHALE_MAX_SANDBOXES: /],
		["a short token", { SHALE_TOKEN: "short" }, /^SHALE_TOKEN: .*16/],
		["a named file that does not exist", { SHALE_CONFIG: "/nowhere/x.toml" }, /\/nowhere\/x\.toml/],
	] as const) {
		it(`refuses ${title} and says which`, async () => {
			writeFileSync(join(folder, "unknown.toml"), 'datum = "/x"');
			await assert.rejects(readConfig(env), { code: "invalid_argument", message });
		});
	}

	it("listens anywhere with a token", async () => {
		const config = await readConfig({ SHALE_LISTEN: "[::]:80", SHALE_TOKEN: "a-secret-of-some-length" });
		assert.equal(config.listenHost, "::");
		assert.equal(config.listenPort, 80);
	});
});
