/** Routes of sandboxes. */
import { ShaleError } from "../../lib/errors.ts";
import { textReply } from "../replies.ts";
import { defineRoute, type Route } from "../route.ts";
import {
	createSandbox,
	extendSandbox,
	listSandboxes,
	sandbox,
	sandboxPage,
	sandboxStats,
} from "../schemas/sandboxes.ts";

const tag = "Sandboxes";

export const SANDBOX_ROUTES: readonly Route[] = [
	defineRoute({
		name: "createSandbox",
		method: "POST",
		path: "/v1/sandboxes",
		tag,
		summary: "Create a sandbox",
		description: [
			"Answers when the sandbox can exec. The same request again under an id of the client's answers with the sandbox",
			"that there is; an id or name that another one has is a `conflict`.",
		].join(" "),
		body: createSandbox,
		reply: { status: 201, description: "The sandbox.", json: sandbox },
		handle: ({ daemon, body }) => daemon.sandboxes.create(body),
	}),
	defineRoute({
		name: "listSandboxes",
		method: "GET",
		path: "/v1/sandboxes",
		tag,
		summary: "List sandboxes",
		query: listSandboxes,
		reply: { status: 200, description: "A page of them.", json: sandboxPage },
		handle: ({ daemon, query: { label, ...query } }) =>
			daemon.sandboxes.list({ ...query, ...(label === undefined ? {} : { labels: toLabels(label) }) }),
	}),
	defineRoute({
		name: "getSandbox",
		method: "GET",
		path: "/v1/sandboxes/{id}",
		tag,
		summary: "Inspect a sandbox",
		reply: { status: 200, description: "The sandbox.", json: sandbox },
		handle: ({ daemon, params }) => daemon.sandboxes.get(params.id),
	}),
	defineRoute({
		name: "destroySandbox",
		method: "DELETE",
		path: "/v1/sandboxes/{id}",
		tag,
		summary: "Destroy a sandbox",
		description: "From any state, and again: answers when nothing of it is left on the host.",
		reply: { status: 204, description: "It is gone." },
		handle: async ({ daemon, params }) => {
			await daemon.sandboxes.destroy(params.id);
			return undefined;
		},
	}),
	defineRoute({
		name: "stopSandbox",
		method: "POST",
		path: "/v1/sandboxes/{id}/stop",
		tag,
		summary: "Stop a sandbox",
		description: [
			"Ends all its processes and keeps its disk upper, id and name. A sandbox with a tmpfs upper cannot be stopped",
			"(`conflict`). Repeatable; answers when it has stopped.",
		].join(" "),
		reply: { status: 200, description: "The sandbox.", json: sandbox },
		handle: ({ daemon, params }) => daemon.sandboxes.stop(params.id),
	}),
	defineRoute({
		name: "startSandbox",
		method: "POST",
		path: "/v1/sandboxes/{id}/start",
		tag,
		summary: "Start a stopped sandbox",
		description: [
			"Or one that failed, on the disk upper that was kept. Its lifetime begins again. Repeatable; answers when it can",
			"exec.",
		].join(" "),
		reply: { status: 200, description: "The sandbox.", json: sandbox },
		handle: ({ daemon, params }) => daemon.sandboxes.startAgain(params.id),
	}),
	defineRoute({
		name: "extendSandbox",
		method: "POST",
		path: "/v1/sandboxes/{id}/extend",
		tag,
		summary: "Set the end of a sandbox's lifetime",
		description:
			"Counted from now, later or sooner than before. After this answer the old end has no effect.",
		body: extendSandbox,
		reply: { status: 200, description: "The sandbox.", json: sandbox },
		handle: ({ daemon, params, body }) => daemon.sandboxes.extend(params.id, body.lifetimeMs),
	}),
	defineRoute({
		name: "getSandboxStats",
		method: "GET",
		path: "/v1/sandboxes/{id}/stats",
		tag,
		summary: "What a sandbox uses",
		reply: { status: 200, description: "Figures of its cgroup.", json: sandboxStats },
		handle: ({ daemon, params }) => daemon.sandboxes.stats(params.id),
	}),
	defineRoute({
		name: "getSandboxPlan",
		method: "GET",
		path: "/v1/sandboxes/{id}/plan",
		tag,
		summary: "The plan that a sandbox was made from",
		reply: { status: 200, description: "One operation a line.", other: "text/plain" },
		handle: async ({ daemon, params }) => textReply(await daemon.sandboxes.explainExisting(params.id)),
	}),
	defineRoute({
		name: "explainSandbox",
		method: "POST",
		path: "/v1/plan",
		tag,
		summary: "The plan that a sandbox would be made from",
		description: "Takes what creating takes, and makes nothing.",
		body: createSandbox,
		reply: { status: 200, description: "One operation a line.", other: "text/plain" },
		handle: async ({ daemon, body }) => textReply(await daemon.sandboxes.explain(body)),
	}),
];

function toLabels(filters: readonly string[]): Record<string, string> {
	const labels: Record<string, string> = {};
	for (const filter of filters) {
		const at = filter.indexOf("=");
		const key = filter.slice(0, at);
		if (Object.hasOwn(labels, key)) {
			throw new ShaleError("invalid_argument", `label: ${key} is given twice, and a label has one value`);
		}
		labels[key] = filter.slice(at + 1);
	}
	return labels;
}
