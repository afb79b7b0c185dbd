/**
 * rtnetlink requests as bytes, for the plan's `netlink` operation. The jailer sends them in the sandbox's new
 * network namespace and reads the acknowledgement. Layout: netlink(7), rtnetlink(7), little endian.
 */

/** linux/netlink.h and linux/rtnetlink.h. */
const RTM_NEWLINK = 16;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const IFF_UP = 0x1;
const HEADER_BYTES = 16;
const IFINFOMSG_BYTES = 16;

/** The loopback device is the first in every network namespace. */
export const LOOPBACK_INDEX = 1;

/** `ip link set … up`. Sequence and port are 0: the jailer has one request under way at a time. */
export function linkUp(interfaceIndex: number): Uint8Array {
	const message = Buffer.alloc(HEADER_BYTES + IFINFOMSG_BYTES);
	message.writeUInt32LE(message.length, 0);
	message.writeUInt16LE(RTM_NEWLINK, 4);
	message.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK, 6);
	message.writeInt32LE(interfaceIndex, HEADER_BYTES + 4);
	message.writeUInt32LE(IFF_UP, HEADER_BYTES + 8);
	message.writeUInt32LE(IFF_UP, HEADER_BYTES + 12);
	return message;
}
