import assert from "node:assert/strict";
import test from "node:test";
import { LOOPBACK_INDEX, linkUp } from "./netlink.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

test("linkUp is the RTM_NEWLINK request of `ip link set lo up`", () => {
	assert.equal(
		hex(linkUp(LOOPBACK_INDEX)),
		[
			"20000000 1000 0500 00000000 00000000", // length 32, RTM_NEWLINK, REQUEST|ACK, sequence, port
			"00 00 0000 01000000 01000000 01000000", // AF_UNSPEC, type, index 1, IFF_UP, change IFF_UP
		]
			.join("")
			.replaceAll(" ", ""),
	);
});
