/** Routes of the daemon itself. */
import { jsonReply, textReply } from "../replies.ts";
import { defineRoute, type Route } from "../route.ts";
import { doctorReport, health, version } from "../schemas/daemon.ts";

const tag = "Daemon";

export const DAEMON_ROUTES: readonly Route[] = [
	defineRoute({
		name: "getDoctorReport",
		method: "GET",
		path: "/v1/doctor",
		tag,
		summary: "What this host can do",
		description: "Tries each thing that sandboxes need, and says what to do about what is missing.",
		reply: { status: 200, description: "All checks.", json: doctorReport },
		handle: ({ daemon }) => daemon.doctor(),
	}),
	defineRoute({
		name: "getVersion",
		method: "GET",
		path: "/v1/version",
		tag,
		summary: "Versions of the daemon, of Node and of the kernel",
		reply: { status: 200, description: "The versions.", json: version },
		handle: ({ daemon }) => daemon.version,
	}),
	defineRoute({
		name: "getHealth",
		method: "GET",
		path: "/healthz",
		tag,
		summary: "Whether the daemon answers",
		open: true,
		reply: { status: 200, description: "It does.", json: health },
		handle: () => jsonReply(200, { status: "ok" }),
	}),
	defineRoute({
		name: "getMetrics",
		method: "GET",
		path: "/metrics",
		tag,
		summary: "Metrics for Prometheus",
		reply: { status: 200, description: "Text exposition format 0.0.4.", other: "text/plain" },
		handle: async ({ daemon }) => textReply(await daemon.metrics(), "text/plain; version=0.0.4"),
	}),
];
