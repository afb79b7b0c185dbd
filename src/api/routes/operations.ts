/** Routes for the operators of a host: what happens on it, and what nobody owns. */
import type { z } from "zod";
import type { SandboxEvent } from "../../sandbox/events.ts";
import { defineRoute, type Route } from "../route.ts";
import { collectGarbage, garbageReport, listenEvents, sandboxEvent } from "../schemas/operations.ts";
import { type ServerSentEvent, type SseSource, sseReply } from "../sse.ts";

const tag = "Operations";

export const OPERATION_ROUTES: readonly Route[] = [
	defineRoute({
		name: "listenEvents",
		method: "GET",
		path: "/v1/events",
		tag,
		summary: "What happens, as it happens",
		description:
			"Server-sent events from now on. With the header `Last-Event-ID`, those after that one; when it is no longer known, an event `reset` and then all that are kept.",
		query: listenEvents,
		reply: { status: 200, description: "Events until the client leaves.", sse: sandboxEvent },
		handle: ({ daemon, query, context, log }) => {
			const reader = daemon.events.subscribe(context.req.header("last-event-id"));
			return sseReply(tellEvents(reader, query), { context, log, doing: "telling events" });
		},
	}),
	defineRoute({
		name: "collectGarbage",
		method: "POST",
		path: "/v1/gc",
		tag,
		summary: "Remove what nobody owns",
		description:
			"Leftovers of sandboxes that no longer exist, and half-made layers. What belongs to a sandbox, or to one that is being created, is never touched.",
		body: collectGarbage,
		reply: { status: 200, description: "What was removed, or would be.", json: garbageReport },
		handle: ({ daemon, body }) => daemon.collectGarbage({ dryRun: body.dryRun ?? false }),
	}),
];

function tellEvents(
	reader: AsyncIterableIterator<SandboxEvent, undefined>,
	filter: z.output<typeof listenEvents>,
): SseSource {
	return { events: chooseEvents(reader, filter), cancel: () => void reader.return?.() };
}

async function* chooseEvents(
	reader: AsyncIterable<SandboxEvent>,
	{ sandbox, type }: z.output<typeof listenEvents>,
): AsyncGenerator<ServerSentEvent> {
	for await (const event of reader) {
		const isChosen =
			(sandbox === undefined || event.sandboxId === sandbox) &&
			(type === undefined || type.some((one) => one === event.type));
		if (isChosen || event.type === "reset") yield { id: event.id, event: event.type, data: event };
	}
}
