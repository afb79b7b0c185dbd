/** The SDK has types of its own, as it depends on nothing; the compiler holds them to those of the core. */
import { test } from "node:test";
import type * as sdk from "../../sdk/src/index.ts";
import type { DoctorReport, Recipe, Version } from "../../src/api/daemon-operations.ts";
import type { LayerManifest } from "../../src/layers/manifest.ts";
import type { SandboxEvent } from "../../src/sandbox/events.ts";
import type * as files from "../../src/sandbox/file-types.ts";
import type { GarbageReport } from "../../src/sandbox/inventory.ts";
import type * as core from "../../src/sandbox/types.ts";

type Same<A, B> = [A, B] extends [B, A] ? true : false;

test("the SDK's types are those of the core", () => {
	true satisfies Same<sdk.CreateSandbox, core.CreateSandbox>;
	true satisfies Same<sdk.SandboxInfo, core.Sandbox>;
	true satisfies Same<sdk.SandboxPage, core.SandboxPage>;
	true satisfies Same<sdk.ListSandboxes, core.ListSandboxes>;
	true satisfies Same<sdk.ProcessInfo, core.ProcessInfo>;
	true satisfies Same<sdk.ProcessExit, core.ProcessExit>;
	true satisfies Same<sdk.SandboxStats, core.SandboxStats>;
	true satisfies Same<sdk.TerminalSize, core.TerminalSize>;
	true satisfies Same<sdk.FileInfo, files.FileInfo>;
	true satisfies Same<sdk.FileList, files.FileList>;
	true satisfies Same<sdk.FileEvent, files.FileEvent>;
	true satisfies Same<sdk.Recipe, Recipe>;
	true satisfies Same<sdk.DoctorReport, DoctorReport>;
	true satisfies Same<sdk.DaemonVersion, Version>;
	true satisfies Same<sdk.SandboxEvent, SandboxEvent>;
	true satisfies Same<sdk.GarbageReport, GarbageReport>;
	true satisfies LayerManifest extends sdk.Layer ? true : false;
});
