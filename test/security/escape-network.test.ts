/** Attacks by sockets: on services of the host, on its network, on other sandboxes, on the hypervisor. */
import { existsSync } from "node:fs";
import {
	type Attack,
	kernelPython,
	NO_USER_NAMESPACE,
	printedOk,
	python,
	testAttacks,
} from "../support/attack.ts";
import { all, sharing, unconfined, without } from "../support/plan-edits.ts";

const abstractListener = (name: string) =>
	python(`import socket, time
listener = socket.socket(socket.AF_UNIX); listener.bind("\\0${name}"); listener.listen(); time.sleep(60)`);

/** Tries for a moment: the neighbour may just be starting. */
const connectTo = (address: string, family = "AF_UNIX") =>
	python(`import socket, time
for attempt in range(30):
    try: socket.socket(socket.${family}).connect(${address}); print("ok"); break
    except OSError: time.sleep(0.05)`);

const ATTACKS: readonly Attack[] = [
	{
		title: "connects to a service on the host's loopback",
		protection: "the network namespace",
		off: { editPlan: sharing("net") },
		argv: ({ port }) => connectTo(`("127.0.0.1", ${port})`, "AF_INET"),
		hasSucceeded: printedOk,
	},
	{
		title: "connects to a service at an abstract unix address of the host (CVE-2020-15257)",
		protection: "the network namespace",
		off: { editPlan: sharing("net") },
		argv: ({ abstractName }) => connectTo(`"\\0${abstractName}"`),
		hasSucceeded: printedOk,
	},
	{
		title: "connects to a service at an abstract unix address of another sandbox",
		protection: "network namespaces",
		off: { editPlan: sharing("net") },
		neighbour: abstractListener("shale-neighbour"),
		argv: () => connectTo(`"\\0shale-neighbour"`),
		hasSucceeded: printedOk,
	},
	{
		title: "listens to the traffic of the host by a packet socket",
		protection: "the network namespace, the user namespace, seccomp and the dropped CAP_NET_RAW",
		off: { input: NO_USER_NAMESPACE, editPlan: all(unconfined, sharing("net")) },
		argv: ({ port }) =>
			kernelPython(`import socket
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); tap.settimeout(5)
try: socket.create_connection(("127.0.0.1", ${port}), 2)
except OSError: pass
while struct.pack(">H", ${port}) not in tap.recv(65536): pass
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "changes the host's network",
		protection: "the network namespace, the user namespace and the dropped CAP_NET_ADMIN",
		off: { input: NO_USER_NAMESPACE, editPlan: all(unconfined, sharing("net")) },
		argv: () =>
			kernelPython(`import fcntl, socket
SIOCSIFFLAGS = 0x8914; UP_LOOPBACK_RUNNING = 0x49 # as it is
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", UP_LOOPBACK_RUNNING)); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "talks to the hypervisor past every network namespace",
		protection: "seccomp",
		off: { editPlan: without("seccomp") },
		missing: existsSync("/dev/vsock") ? false : "this machine has no vsock",
		argv: () => python(`import socket; socket.socket(40, socket.SOCK_STREAM); print("ok")`),
		hasSucceeded: printedOk,
	},
];

testAttacks("the network", ATTACKS);
