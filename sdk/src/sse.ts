/** Server-sent events (HTML standard, section 9.2) from a stream of bytes. */
import { parseObject, readLines } from "./ndjson.ts";

export interface ServerSentEvent {
	readonly id: string | undefined;
	/** Its name; `message` when it has none. */
	readonly event: string;
	/** The daemon sends objects of JSON. */
	readonly data: Readonly<Record<string, unknown>>;
}

/** Comments, which keep an idle stream alive, are skipped. @throws ShaleConnectionError on data that is no object. */
export async function* readServerSentEvents(
	body: AsyncIterable<Uint8Array>,
): AsyncGenerator<ServerSentEvent> {
	let fields = new Map<string, string>();
	for await (const line of readLines(body)) {
		const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line.replace(/\r$/, "")) ?? [];
		if (line === "" || line === "\r") {
			const data = fields.get("data");
			if (data !== undefined) {
				yield { id: fields.get("id"), event: fields.get("event") ?? "message", data: parseObject(data) };
			}
			fields = new Map();
		} else if (name !== "") {
			const before = name === "data" ? fields.get(name) : undefined;
			fields.set(name, before === undefined ? value : `${before}\n${value}`);
		}
	}
}
