/** The program `shale`: argv to a verb. It loads as little as it can, as every start pays for it. */
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { main } from "./cli/dispatch.ts";
import { packageRoot } from "./lib/package-root.ts";

// SECURITY: compiled code is executed, so its cache lies beside the program, where only who may change the
// program can write; Node's default, a well-known folder in /tmp, could be prepared for root by anybody.
enableCompileCache(join(packageRoot(), "node_modules/.cache/shale"));

process.exitCode = await main(process.argv.slice(2));
