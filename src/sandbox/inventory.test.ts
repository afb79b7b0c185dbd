import assert from "node:assert/strict";
import { test } from "node:test";
import { pino } from "pino";
import { EventLog } from "./events.ts";
import { Inventory, type InventoryOptions, type Resource, type ResourceSource } from "./inventory.ts";

const cgroup = (sandboxId: string): Resource => ({
	kind: "cgroup",
	name: `/sys/fs/cgroup/shale/${sandboxId}`,
	sandboxId,
});
const LOOSE: Resource = { kind: "loop", name: "/dev/loop7", sandboxId: null };

/** A host that tests put things on. */
class Host implements ResourceSource {
	things: Resource[] = [];
	looks = 0;
	/** What happens while it is looked at, by the number of the look. */
	onLook: (look: number) => void = () => undefined;
	/** What happens before a thing is removed. */
	onRemove: (thing: Resource) => void = () => undefined;

	async list(): Promise<readonly Resource[]> {
		this.looks++;
		const seen = [...this.things];
		this.onLook(this.looks);
		return seen;
	}

	async remove(known: ReadonlySet<string>): Promise<void> {
		for (const thing of [...this.things]) {
			this.onRemove(thing);
			if (thing.sandboxId === null || known.has(thing.sandboxId)) continue;
			this.things = this.things.filter((other) => other !== thing);
		}
	}
}

function create(options: Partial<InventoryOptions> = {}) {
	const host = new Host();
	const sandboxes = new Map<string, unknown>();
	const events = new EventLog({ epoch: "e" });
	const inventory = new Inventory({
		sources: [host],
		sandboxes,
		events,
		log: pino({ level: "silent" }),
		settleMs: 1,
		...options,
	});
	return { host, sandboxes, events, inventory };
}

test("what sandboxes own is no leak, and neither is nothing", async () => {
	const { host, sandboxes, inventory } = create();
	assert.deepEqual(await inventory.findLeaks(), []);
	sandboxes.set("a", true);
	host.things = [cgroup("a")];
	assert.deepEqual(await inventory.findLeaks(), []);
	assert.equal(host.looks, 2);
});

test("what nobody owns is found, told once as an event, and told again when it comes back", async () => {
	const { host, events, inventory } = create();
	host.things = [cgroup("gone"), LOOSE];
	const reader = events.subscribe("e-0");
	for (let n = 0; n < 3; n++) assert.deepEqual(await inventory.findLeaks(), [cgroup("gone"), LOOSE]);
	assert.equal(events.count("host.leak"), 2);
	const { value } = await reader.next();
	assert.deepEqual(
		[value?.type, value?.sandboxId, value?.resource],
		["host.leak", "gone", { kind: "cgroup", name: "/sys/fs/cgroup/shale/gone" }],
	);
	host.things = [];
	await inventory.findLeaks();
	host.things = [LOOSE];
	await inventory.findLeaks();
	assert.equal(events.count("host.leak"), 3);
});

test("a sandbox that is destroyed while we look left nothing", async () => {
	const { host, sandboxes, inventory } = create();
	sandboxes.set("a", true);
	host.things = [cgroup("a")];
	host.onLook = () => sandboxes.delete("a");
	assert.deepEqual(await inventory.findLeaks(), []);
});

test("a sandbox that is created while we look owns what it has", async () => {
	const { host, sandboxes, inventory } = create();
	host.things = [cgroup("a")];
	host.onLook = () => sandboxes.set("a", true);
	assert.deepEqual(await inventory.findLeaks(), []);
});

test("what the kernel frees a moment later is no leak", async () => {
	const { host, inventory } = create();
	host.things = [cgroup("a")];
	host.onLook = () => {
		host.things = [];
	};
	assert.deepEqual(await inventory.findLeaks(), []);
});

test("a dry run lists and removes nothing", async () => {
	const { host, inventory } = create();
	host.things = [cgroup("gone")];
	assert.deepEqual(await inventory.collect({ dryRun: true }), {
		dryRun: true,
		removed: [cgroup("gone")],
		left: [],
	});
	assert.equal(host.things.length, 1);
});

test("a collection removes what nobody owns, tells what it could not, and lets the rest be", async () => {
	const { host, sandboxes, inventory } = create();
	sandboxes.set("a", true);
	host.things = [cgroup("a"), cgroup("gone"), LOOSE];
	assert.deepEqual(await inventory.collect({ dryRun: false }), {
		dryRun: false,
		removed: [cgroup("gone")],
		left: [LOOSE],
	});
	assert.deepEqual(host.things, [cgroup("a"), LOOSE]);
});

test("a sandbox whose creation begins during a collection is not touched, even under the id of a leak", async () => {
	const { host, sandboxes, inventory } = create();
	host.things = [cgroup("gone"), cgroup("back")];
	host.onRemove = () => {
		for (const id of ["back", "new"]) {
			if (sandboxes.has(id)) continue;
			sandboxes.set(id, true);
			host.things.push(cgroup(id));
		}
	};
	const { removed } = await inventory.collect({ dryRun: false });
	assert.ok(removed.some(({ sandboxId }) => sandboxId === "gone"));
	assert.ok(host.things.some(({ sandboxId }) => sandboxId === "back"));
	assert.ok(host.things.some(({ sandboxId }) => sandboxId === "new"));
});

test("what a source did not list is not removed, though nobody owns it yet", async () => {
	const { host, inventory } = create();
	host.things = [cgroup("gone")];
	host.onRemove = () => host.things.push(cgroup("about-to-be"));
	await inventory.collect({ dryRun: false });
	host.onRemove = () => undefined;
	assert.ok(host.things.some(({ sandboxId }) => sandboxId === "about-to-be"));
});

test("a source that fails does not keep the others from being tidied", async () => {
	const broken: ResourceSource = {
		list: async () => [LOOSE],
		remove: () => Promise.reject(new Error("busy")),
	};
	const host = new Host();
	host.things = [cgroup("gone")];
	const { inventory } = create({ sources: [broken, host] });
	assert.deepEqual(await inventory.collect({ dryRun: false }), {
		dryRun: false,
		removed: [cgroup("gone")],
		left: [LOOSE],
	});
});

test("counts name every kind, and the host is not looked at for each", async () => {
	const { host, inventory } = create();
	host.things = [cgroup("gone")];
	const counts = await inventory.countLeaks();
	assert.equal(counts.get("cgroup"), 1);
	assert.equal(counts.get("netns"), 0);
	const { looks } = host;
	await inventory.countLeaks();
	assert.equal(host.looks, looks);
	await inventory.collect({ dryRun: false });
	assert.equal((await inventory.countLeaks()).get("cgroup"), 0);
});

test("collections at the same time are one", async () => {
	const { host, inventory } = create();
	host.things = [cgroup("gone")];
	const [first, second] = await Promise.all([
		inventory.collect({ dryRun: false }),
		inventory.collect({ dryRun: false }),
	]);
	assert.equal(first, second);
});
