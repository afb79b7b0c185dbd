/** All routes of the native API. */
import { type OpenApiDocument, toOpenApi } from "../openapi.ts";
import type { Route } from "../route.ts";
import { DAEMON_ROUTES } from "./daemon.ts";
import { documentationRoutes } from "./documentation.ts";
import { EXEC_ROUTES } from "./exec.ts";
import { FILE_ROUTES } from "./files.ts";
import { LAYER_ROUTES } from "./layers.ts";
import { OPERATION_ROUTES } from "./operations.ts";
import { PROCESS_ROUTES } from "./processes.ts";
import { SANDBOX_ROUTES } from "./sandboxes.ts";

export const ROUTES: readonly Route[] = [
	...SANDBOX_ROUTES,
	...EXEC_ROUTES,
	...PROCESS_ROUTES,
	...FILE_ROUTES,
	...LAYER_ROUTES,
	...OPERATION_ROUTES,
	...DAEMON_ROUTES,
	...documentationRoutes(describe),
];

let described: { readonly version: string; readonly document: OpenApiDocument } | undefined;

/** Made at its first use: it takes some ms, and most daemons are never asked. */
function describe(version: string): OpenApiDocument {
	if (described?.version !== version) described = { version, document: toOpenApi(ROUTES, { version }) };
	return described.document;
}
