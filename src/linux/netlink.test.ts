import assert from "node:assert/strict";
import test from "node:test";
import { addAddress, addDefaultRoute, LOOPBACK_INDEX, linkUp } from "./netlink.ts";

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

test("addAddress is the RTM_NEWADDR request of `ip addr add 10.1.2.3/24 dev …`", () => {
	assert.equal(
		hex(addAddress(2, "10.1.2.3", 24)),
		[
			"28000000 1400 0506 00000000 00000000",
			"02 18 00 00 02000000", // AF_INET, prefix 24, flags, scope global, index 2
			"0800 0200 0a010203", // IFA_LOCAL
			"0800 0100 0a010203", // IFA_ADDRESS
		]
			.join("")
			.replaceAll(" ", ""),
	);
});

test("addDefaultRoute is the RTM_NEWROUTE request of `ip route add default via 10.1.2.1`", () => {
	assert.equal(
		hex(addDefaultRoute("10.1.2.1")),
		[
			"24000000 1800 0506 00000000 00000000",
			"02 00 00 00 fe 03 00 01 00000000", // AF_INET, any destination, table main, boot, universe, unicast
			"0800 0500 0a010201", // RTA_GATEWAY
		]
			.join("")
			.replaceAll(" ", ""),
	);
});

test("what is not an IPv4 address is refused", () => {
	for (const address of ["10.1.2", "10.1.2.256", "010.1.2.3", "::1", "10.1.2.3 "]) {
		assert.throws(() => addAddress(2, address, 24), { code: "invalid_argument" });
	}
});
