/** From the routes to their OpenAPI 3.1 document. Schemas become JSON Schema 2020-12, as 3.1 has them. */
import { z } from "zod";
import { PATH_PARAMETERS, parameterNames } from "./path-parameters.ts";
import type { Route } from "./route.ts";
import { errorBody } from "./schemas/daemon.ts";
import { interactiveEvent, interactiveExecRequest, interactiveMessage } from "./schemas/processes.ts";

type Json = Record<string, unknown>;

export interface OpenApiDocument extends Json {
	readonly openapi: "3.1.0";
	readonly paths: Readonly<Record<string, Readonly<Record<string, Json>>>>;
	readonly components: { readonly schemas: Readonly<Record<string, Json>> } & Json;
}

export function toOpenApi(
	routes: readonly Route[],
	{ version }: { readonly version: string },
): OpenApiDocument {
	const schemas = new NamedSchemas();
	const paths: Record<string, Record<string, Json>> = {};
	for (const route of routes) {
		paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: toOperation(route, schemas) };
	}
	// The messages of the WebSocket belong to no HTTP operation, and are described all the same.
	for (const schema of [interactiveExecRequest, interactiveMessage, interactiveEvent]) schemas.refer(schema);
	const error = schemas.refer(errorBody);
	return {
		openapi: "3.1.0",
		info: {
			title: "Shale",
			version,
			summary: "Self-hosted sandboxes from stacked read-only layers",
			description: "Unknown fields are refused. Sizes and times carry their unit in the name.",
			license: { name: "MIT", identifier: "MIT" },
		},
		tags: [...new Set(routes.map(({ tag }) => tag))].map((name) => ({ name })),
		paths,
		components: {
			schemas: schemas.all(),
			responses: {
				Error: {
					description: "An error, with a code of the table.",
					content: { "application/json": { schema: error } },
				},
			},
			securitySchemes: {
				token: {
					type: "http",
					scheme: "bearer",
					description: "Needed when the daemon was started with a token.",
				},
			},
		},
	};
}

function toOperation(route: Route, schemas: NamedSchemas): Json {
	const parameters = [...pathParameters(route.path), ...queryParameters(route.query)];
	return {
		operationId: route.name,
		tags: [route.tag],
		summary: route.summary,
		...(route.description === undefined ? {} : { description: route.description }),
		...(parameters.length > 0 ? { parameters } : {}),
		...toRequestBody(route, schemas),
		responses: {
			[route.reply.status]: toResponse(route, schemas),
			default: { $ref: "#/components/responses/Error" },
		},
		security: route.open ? [] : [{}, { token: [] }],
	};
}

function pathParameters(path: string): Json[] {
	return parameterNames(path).map((name) => {
		const { description, pattern } = PATH_PARAMETERS[name];
		return {
			name,
			in: "path",
			required: true,
			description,
			schema: { type: "string", pattern: pattern.source },
		};
	});
}

function queryParameters(query: z.ZodObject | undefined): Json[] {
	if (!query) return [];
	// As "output": what the text in the query is read as.
	const { properties = {} } = z.toJSONSchema(query, { io: "output" });
	const { required = [] } = z.toJSONSchema(query, { io: "input" });
	return Object.entries(properties).map(([name, schema]) => {
		const { description, ...rest } = typeof schema === "object" ? schema : {};
		return {
			name,
			in: "query",
			...(required.includes(name) ? { required: true } : {}),
			...(description === undefined ? {} : { description }),
			schema: rest,
		};
	});
}

function toRequestBody({ body, rawBody }: Route, schemas: NamedSchemas): Json {
	if (body) {
		return {
			requestBody: { required: true, content: { "application/json": { schema: schemas.refer(body) } } },
		};
	}
	return rawBody === undefined ? {} : { requestBody: { required: true, content: { [rawBody]: {} } } };
}

function toResponse({ reply }: Route, schemas: NamedSchemas): Json {
	const content: Json = {};
	if (reply.json) content["application/json"] = { schema: schemas.refer(reply.json) };
	if (reply.ndjson) content["application/x-ndjson"] = { schema: schemas.refer(reply.ndjson) };
	if (reply.sse) content["text/event-stream"] = { schema: schemas.refer(reply.sse) };
	if (reply.bytes !== undefined) content[reply.bytes] = {};
	if (reply.other !== undefined) content[reply.other] = { schema: { type: "string" } };
	return { description: reply.description, ...(Object.keys(content).length > 0 ? { content } : {}) };
}

/** Collects the schemas that have an id, for `components`. */
class NamedSchemas {
	readonly #all = new Map<string, Json>();

	/** A reference to the schema, or the schema itself when it has no id. */
	refer(schema: z.ZodType): Json {
		const { $defs = {}, $schema: _draft, id, ...json } = toComponent(z.toJSONSchema(schema, { io: "input" }));
		for (const [name, definition] of Object.entries($defs as Record<string, Json>)) {
			const { id: _id, ...body } = definition;
			this.#all.set(name, body);
		}
		if (typeof id !== "string") return json;
		this.#all.set(id, json);
		return { $ref: `#/components/schemas/${id}` };
	}

	all(): Record<string, Json> {
		return Object.fromEntries([...this.#all].sort(([a], [b]) => (a < b ? -1 : 1)));
	}
}

/** References within one schema become references within the document. */
function toComponent(schema: unknown): Json {
	return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/')) as Json;
}
