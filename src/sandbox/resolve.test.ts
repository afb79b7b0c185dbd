import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Machine, type ResolveContext, resolveSandbox } from "./resolve.ts";

const machine: Machine = {
	cores: 2,
	memoryMiB: 4096,
	swapMiB: 0,
	openFiles: 20_000,
	processes: 32_768,
	diskMiB: 10_000,
};

const context: ResolveContext = {
	machine,
	defaultBackend: "namespace",
	defaultLayers: ["000-base-debian"],
	toStack: (names) => names,
	now: new Date(0),
};

describe("resolveSandbox", () => {
	it("fills every default", () => {
		const sandbox = resolveSandbox({ id: "a" }, context);
		assert.deepEqual(sandbox, {
			id: "a",
			name: null,
			state: "creating",
			reason: null,
			backend: "namespace",
			layers: ["000-base-debian"],
			env: {},
			user: "0",
			workdir: "/",
			hostname: "a",
			labels: {},
			limits: {
				cpuMillis: 1000,
				memoryMiB: 1024,
				swapMiB: 0,
				processes: 256,
				openFiles: 4096,
				diskMiB: 512,
			},
			upper: "tmpfs",
			network: "none",
			createdAt: "1970-01-01T00:00:00.000Z",
			expiresAt: null,
			idleTimeoutMs: null,
			onExpiry: "destroy",
		});
	});

	for (const [name, value] of [
		["cpuMillis", 2001],
		["cpuMillis", 0],
		["memoryMiB", 4097],
		["memoryMiB", -1],
		["processes", 32_769],
		["openFiles", 20_001],
		["diskMiB", 4097],
	] as const) {
		it(`refuses limits.${name} = ${value} and names the field and the range`, () => {
			assert.throws(() => resolveSandbox({ limits: { [name]: value } }, context), {
				code: "invalid_argument",
				message: new RegExp(`^limits\\.${name}: ${value} is outside \\d+ to \\d+$`),
			});
		});
	}

	it("lets a disk upper be larger than memory, up to the size of the disk", () => {
		const { limits } = resolveSandbox({ upper: "disk", limits: { diskMiB: 9000 } }, context);
		assert.equal(limits.diskMiB, 9000);
	});

	it("makes ids that are different and of the form that clients may choose", () => {
		const [first, second] = [resolveSandbox({}, context).id, resolveSandbox({}, context).id];
		assert.notEqual(first, second);
		assert.match(first, /^sb-[0-9a-z]{12}$/);
	});
});
