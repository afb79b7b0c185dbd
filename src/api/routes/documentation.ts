/** The OpenAPI document and the page that shows it: Swagger UI from node_modules, nothing from elsewhere. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { ShaleError } from "../../lib/errors.ts";
import { defineRoute, type Route } from "../route.ts";

const tag = "Documentation";

/** No scripts and styles but the page's own files, and no server but this one. */
const CONTENT_SECURITY_POLICY = [
	"default-src 'none'",
	"script-src 'self'",
	"style-src 'self'",
	"img-src 'self' data:",
	"connect-src 'self'",
	"base-uri 'none'",
	"form-action 'none'",
	"frame-ancestors 'none'",
].join("; ");

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shale API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
`;

const START_SCRIPT = `SwaggerUIBundle({
	url: "/openapi.json",
	dom_id: "#page",
	deepLinking: true,
	validatorUrl: null,
	displayRequestDuration: true,
	defaultModelsExpandDepth: 0,
});
`;

/** The files of the page; the package has more, which are not served. */
const FILES: Readonly<
	Record<string, { readonly mediaType: string; readonly read: () => Promise<string> | string }>
> = {
	"start.js": { mediaType: "text/javascript", read: () => START_SCRIPT },
	"swagger-ui.css": { mediaType: "text/css", read: () => readPackageFile("swagger-ui.css") },
	"swagger-ui-bundle.js": {
		mediaType: "text/javascript",
		read: () => readPackageFile("swagger-ui-bundle.js"),
	},
};

/** @param document gives the OpenAPI document, of which these routes are a part. */
export function documentationRoutes(
	document: (version: string) => Record<string, unknown>,
): readonly Route[] {
	return [
		defineRoute({
			name: "getOpenApi",
			method: "GET",
			path: "/openapi.json",
			tag,
			summary: "This document",
			open: true,
			reply: { status: 200, description: "OpenAPI 3.1.", json: z.record(z.string(), z.unknown()) },
			handle: ({ daemon }) => document(daemon.version.version),
		}),
		defineRoute({
			name: "getDocumentationPage",
			method: "GET",
			path: "/docs",
			tag,
			summary: "This document as a page",
			open: true,
			reply: { status: 200, description: "The page.", other: "text/html" },
			handle: () => pageReply(PAGE, "text/html"),
		}),
		defineRoute({
			name: "getDocumentationFile",
			method: "GET",
			path: "/docs/{file}",
			tag,
			summary: "A part of the page",
			open: true,
			reply: { status: 200, description: "The file.", other: "text/plain" },
			handle: async ({ params }) => {
				const file = Object.hasOwn(FILES, params.file) ? FILES[params.file] : undefined;
				if (!file) throw new ShaleError("not_found", `the page has no part ${params.file}`);
				return pageReply(await file.read(), file.mediaType);
			},
		}),
	];
}

function readPackageFile(file: string): Promise<string> {
	return readFile(fileURLToPath(import.meta.resolve(`swagger-ui-dist/${file}`)), "utf8");
}

function pageReply(text: string, mediaType: string): Response {
	return new Response(text, {
		headers: {
			"content-type": `${mediaType}; charset=utf-8`,
			"content-security-policy": CONTENT_SECURITY_POLICY,
			"cache-control": "max-age=3600",
			"referrer-policy": "no-referrer",
			"x-content-type-options": "nosniff",
		},
	});
}
