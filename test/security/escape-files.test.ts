/** Attacks on the host's files and disks, and on the program that all sandboxes share. */
import {
	type Attack,
	exitedZero,
	kernelPython,
	NO_USER_NAMESPACE,
	printedOk,
	python,
	readTheSecret,
	testAttacks,
} from "../support/attack.ts";
import { all, rootWith, sharing, unconfined, without } from "../support/plan-edits.ts";

const ATTACKS: readonly Attack[] = [
	{
		title: "reads a host file by going up with ..",
		protection: "a root file system of its own",
		off: "no sandbox",
		argv: ({ secretPath }) => ["cat", `/../../../../../..${secretPath}`],
		hasSucceeded: readTheSecret,
	},
	{
		title: "reads a host file through a symlink of its own",
		protection: "a root file system of its own",
		off: "no sandbox",
		argv: ({ secretPath }) =>
			python(`import os; p = "/tmp/shale-link-%d" % os.getpid(); os.symlink("${secretPath}", p)
try: print(open(p).read())
finally: os.unlink(p)`),
		hasSucceeded: readTheSecret,
	},
	{
		title: "reads a host file through /proc/PID/root",
		protection: "the pid namespace, the user namespace and the dropped capabilities",
		off: { input: NO_USER_NAMESPACE, editPlan: all(unconfined, sharing("pid")) },
		argv: ({ secretPath, pid }) => ["cat", `/proc/${pid}/root${secretPath}`],
		hasSucceeded: readTheSecret,
	},
	{
		title: "reads a host file after it has entered the mount namespace of a host process",
		protection: "the pid namespace, the user namespace, seccomp and the dropped capabilities",
		off: { input: NO_USER_NAMESPACE, editPlan: all(unconfined, sharing("pid")) },
		argv: ({ secretPath, pid }) =>
			kernelPython(`call(SYS_setns, os.open("/proc/${pid}/ns/mnt", os.O_RDONLY), 0)
print(open("${secretPath}").read())`),
		hasSucceeded: readTheSecret,
	},
	{
		title: "reads a host file through a descriptor that was left open for it (CVE-2024-21626)",
		protection: "closing all of them before a program is executed",
		off: "no sandbox",
		argv: () =>
			python(`import os
for fd in os.listdir("/proc/self/fd"):
    try: print(open("/proc/self/fd/%s/secret" % fd).read())
    except OSError: pass`),
		hasSucceeded: readTheSecret,
	},
	{
		title: "reads the files of another sandbox through /proc/PID/root",
		protection: "pid namespaces, user ids of its own and the dropped capabilities",
		off: { input: NO_USER_NAMESPACE, editPlan: all(unconfined, sharing("pid")) },
		neighbour: ["sleep", "60"],
		argv: ({ neighbourPid }) =>
			python(`import os; assert len(os.listdir("/proc/${neighbourPid}/root/usr")) > 0; print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "mounts a file system",
		protection: "seccomp and the dropped capabilities",
		off: { editPlan: unconfined },
		argv: () => ["mount", "-t", "tmpfs", "none", "/mnt"],
		hasSucceeded: exitedZero,
	},
	{
		title: "mounts a file system by the newer calls",
		protection: "seccomp and the dropped capabilities",
		off: { editPlan: unconfined },
		argv: () =>
			kernelPython(`FSCONFIG_CMD_CREATE = 6; MOVE_MOUNT_F_EMPTY_PATH = 4
context = call(SYS_fsopen, b"tmpfs", 0)
call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, None, None, 0)
call(SYS_move_mount, call(SYS_fsmount, context, 0, 0), b"", -100, b"/mnt", MOVE_MOUNT_F_EMPTY_PATH)
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "takes the mask off /proc/keys",
		protection: "seccomp and the dropped capabilities",
		off: { editPlan: unconfined },
		argv: () => ["sh", "-c", "umount /proc/keys && grep -q . /proc/keys"],
		hasSucceeded: exitedZero,
	},
	{
		title: "makes a device node of a host disk and reads it",
		protection: "the user namespace, nodev and the dropped capabilities",
		off: { input: NO_USER_NAMESPACE, editPlan: all(unconfined, rootWith("nosuid")) },
		argv: ({ loopMinor }) =>
			python(`import os, stat; os.mknod("/disk", 0o600 | stat.S_IFBLK, os.makedev(7, ${loopMinor}))
print(open("/disk", "rb").read(512))`),
		hasSucceeded: readTheSecret,
	},
	{
		title: "opens a file by its number, past the directories above it (CVE-2014-3519)",
		protection: "seccomp, the user namespace and the dropped CAP_DAC_READ_SEARCH",
		off: { input: NO_USER_NAMESPACE, editPlan: unconfined },
		guest: { cwd: "/dev/shm" },
		argv: () =>
			kernelPython(`AT_FDCWD = -100
open("file", "w").close()
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
call(SYS_name_to_handle_at, AT_FDCWD, b"file", handle, ctypes.byref(ctypes.c_int()), 0)
call(SYS_open_by_handle_at, os.open(".", os.O_RDONLY), handle, os.O_RDONLY)
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "becomes root by a setuid program",
		protection: "no_new_privs and nosuid",
		guest: { user: "1000:1000" },
		off: { editPlan: all(without("no_new_privs", "seccomp"), rootWith("nodev")) },
		prepare: ["sh", "-c", "cp /usr/bin/id /usr/local/bin/root-id && chmod 4755 /usr/local/bin/root-id"],
		argv: () => ["/usr/local/bin/root-id", "-u"],
		hasSucceeded: ({ output }) => output.trim() === "0",
	},
	{
		title: "becomes root by a program with capabilities in its file",
		protection: "no_new_privs and nosuid",
		guest: { user: "1000:1000" },
		off: { editPlan: all(without("no_new_privs", "seccomp"), rootWith("nodev")) },
		prepare: python(`import os, shutil, struct
shutil.copy(os.path.realpath("/usr/bin/python3"), "/usr/local/bin/capable")
# VFS_CAP_REVISION_2 with the effective flag; permitted: CAP_SETUID
os.setxattr("/usr/local/bin/capable", "security.capability", struct.pack("<5I", 0x02000001, 1 << 7, 0, 0, 0))`),
		argv: () => ["/usr/local/bin/capable", "-c", "import os; os.setuid(0); print('ok')"],
		hasSucceeded: printedOk,
	},
	{
		title: "overwrites the agent's program, which all sandboxes execute (CVE-2019-5736)",
		protection: "its being a sealed file in memory that only its own process may open",
		off: "no sandbox",
		argv: ({ agentPid }) =>
			python(`import os, time
program = os.open("/proc/${agentPid}/exe", os.O_RDONLY)
os.kill(${agentPid}, 9)
time.sleep(0.1) # while it runs the file is busy
os.open("/proc/self/fd/%d" % program, os.O_WRONLY); print("ok")`),
		hasSucceeded: printedOk,
	},
];

testAttacks("files", ATTACKS);
