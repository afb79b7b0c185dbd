/** Attacks on processes: the host's, other sandboxes', and the agent, whose socket leads to the daemon. */
import assert from "node:assert/strict";
import { readdirSync, readlinkSync } from "node:fs";
import { it } from "node:test";
import {
	type Attack,
	kernelPython,
	NO_USER_NAMESPACE,
	printedOk,
	python,
	testAttacks,
} from "../support/attack.ts";
import { missingLayers } from "../support/layers.ts";
import { sharing, unconfined } from "../support/plan-edits.ts";
import { startPlanSandbox } from "../support/plan-sandbox.ts";
import { missingRoot } from "../support/requirements.ts";

const UNCONFINED = { editPlan: unconfined } as const;

const OTHERS: readonly Attack[] = [
	{
		title: "signals a host process",
		protection: "the pid namespace and the user namespace",
		off: { input: NO_USER_NAMESPACE, editPlan: sharing("pid") },
		argv: ({ pid }) => python(`import os; os.kill(${pid}, 0); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "signals a process of another sandbox",
		protection: "pid namespaces and user ids of its own",
		off: { input: NO_USER_NAMESPACE, editPlan: sharing("pid") },
		neighbour: ["sleep", "60"],
		argv: ({ neighbourPid }) => python(`import os; os.kill(${neighbourPid}, 0); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "lists the command lines of host processes",
		protection: "the pid namespace",
		off: { input: NO_USER_NAMESPACE, editPlan: sharing("pid") },
		argv: ({ pid }) => python(`assert b"node" in open("/proc/${pid}/cmdline", "rb").read(); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "sees the host's System V shared memory",
		protection: "the ipc namespace",
		off: { editPlan: sharing("ipc") },
		argv: () => python(`assert len(open("/proc/sysvipc/shm").readlines()) > 1; print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "types into a terminal (CVE-2016-2568)",
		protection:
			"seccomp; and where the kernel has it no more, the user namespace and the dropped capabilities",
		off: { input: NO_USER_NAMESPACE, editPlan: unconfined },
		argv: () =>
			kernelPython(`import fcntl, pty, termios
main, terminal = pty.openpty() # as one that another program of the sandbox has open
fcntl.ioctl(terminal, termios.TIOCSTI, b"x"); print("ok")`),
		hasSucceeded: printedOk,
	},
];

/** Who owned the agent could forge frames, and answer for every program of the sandbox. */
const AGENT: readonly Attack[] = [
	{
		title: "traces the agent",
		protection: "the dropped CAP_SYS_PTRACE and the agent not being dumpable",
		off: UNCONFINED,
		argv: () => kernelPython(`PTRACE_SEIZE = 0x4206; call(SYS_ptrace, PTRACE_SEIZE, 1, 0, 0); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "reads the agent's memory",
		protection: "the dropped CAP_SYS_PTRACE and the agent not being dumpable",
		off: UNCONFINED,
		argv: () => python(`open("/proc/1/mem", "rb"); open("/proc/1/environ", "rb").read(); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "lists what the agent has open",
		protection: "the dropped CAP_SYS_PTRACE and the agent not being dumpable",
		off: UNCONFINED,
		argv: () =>
			python(`import os; assert len(os.listdir("/proc/1/fd")) > 3; os.readlink("/proc/1/fd/3"); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "takes the agent's socket, to answer the daemon in its place",
		protection: "seccomp, the dropped CAP_SYS_PTRACE and the agent not being dumpable",
		off: UNCONFINED,
		argv: () =>
			kernelPython(`import socket
listener = socket.socket(fileno=call(SYS_pidfd_getfd, os.pidfd_open(1), 3, 0))
assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN); print("ok")`),
		hasSucceeded: printedOk,
	},
];

testAttacks("processes", [...OTHERS, ...AGENT]);

it("the agent's program is sealed: not even the host's root could overwrite what all sandboxes execute", {
	skip: missingRoot() || missingLayers("000-base-debian", "100-python3"),
}, async () => {
	const sandbox = await startPlanSandbox({ input: NO_USER_NAMESPACE, editPlan: unconfined });
	try {
		const seals = `import fcntl, os
print(fcntl.fcntl(os.open("/proc/1/exe", os.O_RDONLY), 1034)) # F_GET_SEALS`;
		const { output } = await sandbox.exec(python(seals));
		assert.equal(Number(output) & 0xf, 0xf, "F_SEAL_SEAL, SHRINK, GROW and WRITE");
	} finally {
		await sandbox.close();
	}
});

it("the agent has nothing of the host open, and no environment", {
	skip: missingRoot() || missingLayers("000-base-debian", "100-python3"),
}, async () => {
	const sandbox = await startPlanSandbox();
	try {
		const folder = `/proc/${sandbox.hostPid}/fd`;
		const open = readdirSync(folder).map((fd) => readlinkSync(`${folder}/${fd}`));
		const harmless = /^(socket:|pipe:|anon_inode:|\/dev\/null$|\/proc\/\d+\/oom_score_adj$)/;
		assert.deepEqual(
			open.filter((target) => !harmless.test(target)),
			[],
		);
		const guest = "import os; print(*sorted(os.listdir('/proc/self/fd')), *sorted(os.environ))";
		const { output } = await sandbox.exec(python(guest));
		assert.equal(output.trim(), "0 1 2 3 HOME LC_CTYPE PATH", "3 is the listing itself");
	} finally {
		await sandbox.close();
	}
});
