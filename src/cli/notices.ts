/** What is told on stderr while a program's output comes: where it is missing, and what becomes of the daemon. */
import type { DroppedOutput } from "../../sdk/src/index.ts";
import { notice } from "./output.ts";

/** For everything of the SDK that goes on over lost connections. */
export const NOTICES = {
	onConnection(state: "lost" | "back"): void {
		tell(state === "lost" ? "the connection to the daemon is lost; waiting for it" : "the daemon is back");
	},
	onDropped(gap: DroppedOutput): void {
		tell(toDroppedText(gap));
	},
};

export function toDroppedText({ stream, bytes }: DroppedOutput): string {
	return `${bytes} bytes of ${stream} are no longer kept`;
}

/** The output comes first: nobody waits for this, and a closed stderr ends nothing. */
function tell(text: string): void {
	notice(text).catch(() => undefined);
}
