/** One cgroup of a test's own, in a hierarchy of this host. */
import { mkdirSync, rmdirSync } from "node:fs";
import { basename, join } from "node:path";
import { detectCgroups } from "../../src/linux/cgroups.ts";
import { type Op, op } from "../../src/linux/plan.ts";
import type { PlanParts } from "./jailer-fixture.ts";

export class TestCgroup {
	/** What a jailer may be confined to. */
	readonly parentHostPath: string;
	readonly hostPath: string;
	readonly #isUnified: boolean;

	private constructor(parentHostPath: string, isUnified: boolean) {
		this.parentHostPath = parentHostPath;
		this.hostPath = join(parentHostPath, "sandbox");
		this.#isUnified = isUnified;
	}

	static async make(name: string): Promise<TestCgroup> {
		const { unified, v1 } = await detectCgroups({ parent: `shale-${basename(name)}` });
		const parentHostPath = unified?.parentHostPath ?? v1.pids;
		if (parentHostPath === undefined) throw new Error("this host has no cgroups");
		mkdirSync(parentHostPath);
		return new TestCgroup(parentHostPath, unified !== undefined);
	}

	/** Parts of a plan whose sandbox is in {@link hostPath}, which it makes. */
	get parts(): PlanParts {
		const host: readonly Op[] = [op.cgroupCreate(this.hostPath)];
		return this.#isUnified
			? { host, cgroup2: this.hostPath }
			: { host, afterClone: [op.cgroupJoin(this.hostPath)] };
	}

	remove(): void {
		rmdirSync(this.parentHostPath);
	}
}
