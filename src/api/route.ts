/**
 * The form of a route: everything about it in one place. The HTTP routes and the OpenAPI document are both made from
 * the list of them (routes/index.ts), so neither can say what the other does not.
 */
import type { IncomingMessage } from "node:http";
import type { HttpBindings } from "@hono/node-server";
import type { Context } from "hono";
import type { z } from "zod";
import type { Log } from "../lib/log.ts";
import type { Daemon } from "./daemon-operations.ts";
import type { ForegroundProcesses } from "./foreground-process.ts";
import type { PathParameter } from "./path-parameters.ts";

export type ApiContext = Context<{ Bindings: HttpBindings }>;

/** Node's request behind it; there is none when the app is asked in-process. */
export function findIncoming(context: ApiContext): IncomingMessage | undefined {
	return (context.env as HttpBindings | undefined)?.incoming;
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** The `{names}` of a path. */
type NamesIn<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}`
	? Name | NamesIn<Rest>
	: never;

/** What a handler gets: all of it checked. */
export interface RouteRequest<Names extends string, Query, Body> {
	readonly params: Readonly<Record<Names, string>>;
	readonly query: Query;
	readonly body: Body;
	readonly context: ApiContext;
	readonly daemon: Daemon;
	/** Programs that belong to the connection of this request. */
	readonly foregrounds: ForegroundProcesses;
	readonly log: Log;
}

export interface RouteReply<Json extends z.ZodType | undefined = z.ZodType | undefined> {
	/** Of success. */
	readonly status: 200 | 201 | 204;
	readonly description: string;
	/** Schema of a JSON answer: the handler returns the value. */
	readonly json?: Json;
	/** Schema of one line of an NDJSON answer: the handler returns the Response. */
	readonly ndjson?: z.ZodType;
	/** Schema of the data of one server-sent event: the handler returns the Response, see sse.ts. */
	readonly sse?: z.ZodType;
	/** Media type of bytes of any length: the handler returns the Response, see byte-stream.ts. */
	readonly bytes?: string;
	/** Media type of any other answer: the handler returns the Response. */
	readonly other?: string;
}

interface RouteFacts {
	/** The operationId of the document. */
	readonly name: string;
	readonly method: Method;
	readonly tag: string;
	readonly summary: string;
	readonly description?: string;
	/** Needs no token. */
	readonly open?: boolean;
	/** The body is not JSON: the handler reads it from the context. */
	readonly rawBody?: string;
	/** The handler answers HEAD too, with the headers alone. Other streamed answers refuse it. */
	readonly answersHead?: boolean;
}

export interface Route extends RouteFacts {
	readonly path: string;
	readonly query: z.ZodObject | undefined;
	readonly body: z.ZodType | undefined;
	readonly reply: RouteReply;
	handle(request: RouteRequest<string, unknown, unknown>): unknown;
}

export interface RouteDefinition<
	Path extends string,
	Query extends z.ZodObject | undefined,
	Body extends z.ZodType | undefined,
	Json extends z.ZodType | undefined,
> extends RouteFacts {
	/** As in OpenAPI: `/v1/sandboxes/{id}`. */
	readonly path: Path;
	readonly query?: Query;
	readonly body?: Body;
	readonly reply: RouteReply<Json>;
	handle(
		request: RouteRequest<
			NamesIn<Path> & PathParameter,
			Query extends z.ZodObject ? z.output<Query> : undefined,
			Body extends z.ZodType ? z.output<Body> : undefined
		>,
	): Handled<Json> | Promise<Handled<Json>>;
}

type Handled<Json> = Response | (Json extends z.ZodType ? z.output<Json> : undefined);

/** Checks a definition against itself at compile time and forgets its exact types. */
export function defineRoute<
	const Path extends string,
	Query extends z.ZodObject | undefined = undefined,
	Body extends z.ZodType | undefined = undefined,
	Json extends z.ZodType | undefined = undefined,
>(definition: RouteDefinition<Path, Query, Body, Json>): Route {
	return { query: undefined, body: undefined, ...definition } as Route;
}
