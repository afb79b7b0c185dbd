/**
 * A jailer of its own with two small layers, and sandboxes whose one program is native/test/probe.c: it says what
 * the sandbox looks like from inside. No daemon, no distribution.
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
	copyFileSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Jailer, type JailerExit, type StartJailerOptions } from "../../src/linux/jailer.ts";
import { type CloneNamespace, type Op, op, type Plan } from "../../src/linux/plan.ts";
import { findIdMapping } from "./id-mapping.ts";

const NATIVE = join(import.meta.dirname, "../../native");
export const JAILER_PATH = join(NATIVE, "build/jailer");
const PROBE_PATH = join(NATIVE, "build/test/probe");
export const HOST_ID_BASE = 0x7200_0000;

const ALL: readonly CloneNamespace[] = ["user", "mount", "pid", "net", "ipc", "uts", "cgroup", "time"];

export interface PlanParts {
	readonly host?: readonly Op[];
	readonly namespaces?: readonly CloneNamespace[];
	readonly cgroup2?: string;
	/** Between clone and the root. */
	readonly afterClone?: readonly Op[];
	readonly layers?: readonly string[];
	readonly upper?: Op;
	/** Replaces proc, sysfs and dev. */
	readonly root?: readonly Op[];
	readonly confine?: readonly Op[];
	readonly exec?: Op;
}

export class JailerFixture {
	readonly folder = mkdtempSync(join(tmpdir(), "shale-jailer-"));
	readonly runDir = join(this.folder, "run");
	readonly socketHostPath = join(this.folder, "probe.sock");
	jailer!: Jailer;
	/** All, but for `user` where the kernel cannot map the layers' ids. */
	namespaces: readonly CloneNamespace[] = ALL;

	static async open(): Promise<JailerFixture> {
		const fixture = new JailerFixture();
		execFileSync("make", ["-s", "-C", NATIVE, "build/jailer", "build/test/probe"]);
		mkdirSync(fixture.runDir);
		if (!(await findIdMapping()).ok) fixture.namespaces = ALL.filter((name) => name !== "user");
		fixture.#makeLayer("000-base", (folder) => copyFileSync(PROBE_PATH, join(folder, "probe")));
		fixture.#makeLayer("100-data", (folder) => {
			mkdirSync(join(folder, "etc"));
			writeFileSync(join(folder, "etc/data"), "data", { mode: 0o644 });
		});
		fixture.#makeLayer("666-hostile", (folder) => {
			for (const name of ["proc", "sys", "dev", "escape"]) symlinkSync("/etc", join(folder, name));
			symlinkSync("../../../../../..", join(folder, "up"));
		});
		fixture.jailer = await fixture.startJailer();
		return fixture;
	}

	/** One more jailer, on the same folders and with the same layers; `close` does not end it. */
	async startJailer({
		layers = ["000-base", "100-data", "666-hostile"],
		...over
	}: Partial<StartJailerOptions> & { readonly layers?: readonly string[] } = {}): Promise<Jailer> {
		const { runDir } = this;
		const jailer = await Jailer.start({ jailerPath: JAILER_PATH, agentPath: PROBE_PATH, runDir, ...over });
		await jailer.run(layers.map((id) => op.layerMount(id, this.imageHostPath(id))));
		return jailer;
	}

	imageHostPath(id: string): string {
		return join(this.folder, `${id}.squashfs`);
	}

	#makeLayer(id: string, fill: (folder: string) => void): void {
		const folder = join(this.folder, id);
		mkdirSync(folder);
		fill(folder);
		execFileSync("mksquashfs", [
			folder,
			this.imageHostPath(id),
			"-quiet",
			"-no-progress",
			"-processors",
			"1",
		]);
	}

	/** A sandbox with everything a normal one has, except for what `parts` replaces. */
	plan(questions: readonly string[], parts: PlanParts = {}): Plan {
		const namespaces = parts.namespaces ?? this.namespaces;
		return [
			...(parts.host ?? []),
			op.listen(0, this.socketHostPath),
			op.clone(namespaces, parts.cgroup2 === undefined ? {} : { cgroup2: parts.cgroup2 }),
			...(namespaces.includes("user") ? [op.mapIds(HOST_ID_BASE, 65536)] : []),
			...(parts.afterClone ?? []),
			op.rootBegin(),
			...(parts.layers ?? ["000-base", "100-data"]).map((id) => op.rootLayer(id)),
			parts.upper ?? op.rootUpperTmpfs(1 << 20, 64),
			op.rootEnd(["nosuid", "nodev"]),
			op.guest(),
			op.enterRoot(),
			...(parts.root ?? [
				op.mount("proc", "/proc", ["nosuid", "nodev", "noexec"]),
				op.mount("sysfs", "/sys", ["ro", "nosuid", "nodev", "noexec"]),
				op.mountDev(),
			]),
			...(parts.confine ?? []),
			parts.exec ?? op.exec({ path: "@agent", keep: [0], argv: ["probe", ...questions] }),
		];
	}

	/** Runs the probe with these questions to its end. Its answers by question. */
	async ask(questions: readonly string[], parts: PlanParts = {}): Promise<Record<string, string>> {
		const { hostPid } = await this.jailer.run(this.plan(questions, parts));
		const exited = this.exit(hostPid);
		const answers = await this.hear();
		await exited;
		await this.jailer.run([op.fileRemove(this.socketHostPath)]);
		return answers;
	}

	/** Connects to the running probe, takes its answers, and lets it end. */
	async hear(): Promise<Record<string, string>> {
		const socket = connect(this.socketHostPath);
		await once(socket, "connect");
		let text = "";
		for await (const chunk of socket.setEncoding("utf8")) {
			text += chunk;
			if (text.endsWith("end\n")) break;
		}
		const lines = text.split("\n").map((line): [string, string] => {
			const space = line.indexOf(" ");
			return [line.slice(0, space), line.slice(space + 1).trim()];
		});
		return Object.fromEntries(lines);
	}

	exit(hostPid: number): Promise<JailerExit> {
		return new Promise((resolve) => this.jailer.onExit(hostPid, resolve));
	}

	/** The numbers of the jailer's open descriptors. */
	descriptors(): number {
		return readdirSync(`/proc/${this.jailerPid()}/fd`).length;
	}

	jailerPid(): number {
		const children = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ");
		const pid = children.find((child) =>
			readFileSync(`/proc/${child}/cmdline`, "utf8").includes(this.runDir),
		);
		return Number(pid);
	}

	async close(): Promise<void> {
		await this.jailer.close();
		rmSync(this.folder, { recursive: true });
	}
}
