/** From a route to what Hono calls: guard, parse, handle, answer. One closure a route, none a request. */
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { z } from "zod";
import { ShaleError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Guard, RequestHeaders } from "./authentication.ts";
import type { Daemon } from "./daemon-operations.ts";
import type { ForegroundProcesses } from "./foreground-process.ts";
import { type PathParameter, parameterNames, parsePathParameter } from "./path-parameters.ts";
import { emptyReply, errorReply, jsonReply, noRoute } from "./replies.ts";
import { readJson } from "./request-body.ts";
import { type ApiContext, findIncoming, type Route } from "./route.ts";
import { parseInput } from "./validation.ts";

export interface Surroundings {
	readonly guard: Guard;
	readonly daemon: Daemon;
	readonly foregrounds: ForegroundProcesses;
	readonly log: Log;
}

export function toHandler(route: Route, { guard, ...surroundings }: Surroundings) {
	const { log } = surroundings;
	const names = parameterNames(route.path);
	const lists = listParameters(route.query);
	const access = { open: route.open ?? false };
	const doing = `${route.method} ${route.path}`;
	const streams = route.reply.ndjson ?? route.reply.sse ?? route.reply.bytes;
	return async (context: ApiContext): Promise<Response> => {
		try {
			guard(readHeaders(context), access);
			// Hono answers HEAD by GET and drops the body, which would leave a stream that nobody ends.
			if (streams && !route.answersHead && context.req.raw.method !== route.method) {
				throw noRoute(context.req.raw.method, context.req.path, [route.method]);
			}
			const params = readParams(context, names);
			const query = readQuery(context, route.query, lists);
			const body = route.body ? parseInput(route.body, await readJson(context)) : undefined;
			const result = await route.handle({ params, query, body, context, ...surroundings });
			if (result instanceof Response) return result;
			// This one is of the platform's own class, which the server has replaced by another.
			if (result === RESPONSE_ALREADY_SENT) return RESPONSE_ALREADY_SENT;
			return route.reply.json ? jsonReply(route.reply.status, result) : emptyReply(route.reply.status);
		} catch (error) {
			return errorReply(error, log, doing);
		}
	};
}

/** Of the Node request where there is one: it has parsed them already. */
export function readHeaders(context: ApiContext): RequestHeaders {
	const incoming = findIncoming(context);
	if (incoming) return incoming.headers as RequestHeaders;
	const { req } = context;
	const { headers } = req.raw;
	return {
		host: headers.get("host") ?? new URL(req.url).host,
		origin: headers.get("origin") ?? undefined,
		authorization: headers.get("authorization") ?? undefined,
	};
}

function readParams({ req }: ApiContext, names: readonly PathParameter[]): Record<string, string> {
	const params: Record<string, string> = {};
	for (const name of names) params[name] = parsePathParameter(name, req.param(name));
	return params;
}

/** Parameters that may come more than once. */
function listParameters(query: z.ZodObject | undefined): ReadonlySet<string> {
	const lists = Object.entries(query?.shape ?? {}).filter(([, schema]) => {
		const inner = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
		return inner instanceof z.ZodArray;
	});
	return new Set(lists.map(([name]) => name));
}

function readQuery(
	{ req }: ApiContext,
	schema: z.ZodObject | undefined,
	lists: ReadonlySet<string>,
): unknown {
	const given = req.raw.url.includes("?") ? req.queries() : {};
	requireDecodable(req.raw.url);
	if (!schema) {
		const [unknown] = Object.keys(given);
		if (unknown === undefined) return undefined;
		throw new ShaleError(
			"invalid_argument",
			`unknown query parameter ${JSON.stringify(unknown)}; none is known here`,
		);
	}
	const values: Record<string, unknown> = {};
	for (const [name, texts] of Object.entries(given)) {
		if (!lists.has(name) && texts.length > 1) {
			throw new ShaleError("invalid_argument", `${name}: must be given once, not ${texts.length} times`);
		}
		values[name] = lists.has(name) ? texts : texts[0];
	}
	return parseInput(schema, values);
}

/** What is not UTF-8 would silently become another value, and so another file's name. */
function requireDecodable(url: string): void {
	const [, query = ""] = url.split("?", 2);
	if (!query.includes("%")) return;
	try {
		decodeURIComponent(query);
	} catch {
		throw new ShaleError("invalid_argument", "the query is not percent-encoded UTF-8 (RFC 3986 §2.5)");
	}
}
