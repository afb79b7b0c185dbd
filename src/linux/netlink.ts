/**
 * rtnetlink requests as bytes, for the plan's `netlink` operation. The jailer sends them in the sandbox's new
 * network namespace and reads the acknowledgement. Layout: netlink(7), rtnetlink(7), little endian.
 */
import { ShaleError } from "../lib/errors.ts";

/** linux/netlink.h and linux/rtnetlink.h. */
const RTM_NEWLINK = 16;
const RTM_NEWADDR = 20;
const RTM_NEWROUTE = 24;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;

const IFF_UP = 0x1;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RTA_GATEWAY = 5;
const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RTN_UNICAST = 1;

const AF_INET = 2;
const HEADER_BYTES = 16;

/** The loopback device is the first in every network namespace. */
export const LOOPBACK_INDEX = 1;

/** `ip link set … up`. */
export function linkUp(interfaceIndex: number): Uint8Array {
	const body = Buffer.alloc(16);
	body.writeInt32LE(interfaceIndex, 4);
	body.writeUInt32LE(IFF_UP, 8);
	body.writeUInt32LE(IFF_UP, 12);
	return request(RTM_NEWLINK, 0, body);
}

/** `ip addr add ADDRESS/PREFIX dev …`, IPv4. An address that is there already is an error (EEXIST). */
export function addAddress(interfaceIndex: number, address: string, prefixLength: number): Uint8Array {
	const body = Buffer.alloc(8);
	body.writeUInt8(AF_INET, 0);
	body.writeUInt8(prefixLength, 1);
	body.writeUInt32LE(interfaceIndex, 4);
	const bytes = ipv4Bytes(address);
	return request(
		RTM_NEWADDR,
		NLM_F_CREATE | NLM_F_EXCL,
		Buffer.concat([body, attribute(IFA_LOCAL, bytes), attribute(IFA_ADDRESS, bytes)]),
	);
}

/** `ip route add default via GATEWAY`, IPv4. */
export function addDefaultRoute(gateway: string): Uint8Array {
	const body = Buffer.alloc(12);
	body.writeUInt8(AF_INET, 0);
	body.writeUInt8(RT_TABLE_MAIN, 4);
	body.writeUInt8(RTPROT_BOOT, 5);
	body.writeUInt8(RTN_UNICAST, 7);
	return request(
		RTM_NEWROUTE,
		NLM_F_CREATE | NLM_F_EXCL,
		Buffer.concat([body, attribute(RTA_GATEWAY, ipv4Bytes(gateway))]),
	);
}

/** Sequence and port are 0: the jailer has one request under way at a time. */
function request(type: number, flags: number, body: Buffer): Uint8Array {
	const header = Buffer.alloc(HEADER_BYTES);
	header.writeUInt32LE(HEADER_BYTES + body.length, 0);
	header.writeUInt16LE(type, 4);
	header.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK | flags, 6);
	return Buffer.concat([header, body]);
}

/** Attributes here are 8 bytes and need no padding. */
function attribute(type: number, value: Buffer): Buffer {
	const header = Buffer.alloc(4);
	header.writeUInt16LE(4 + value.length, 0);
	header.writeUInt16LE(type, 2);
	return Buffer.concat([header, value]);
}

function ipv4Bytes(address: string): Buffer {
	const parts = address.split(".");
	if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) {
		throw new ShaleError("invalid_argument", `${address} is not an IPv4 address`);
	}
	return Buffer.from(parts.map(Number));
}
