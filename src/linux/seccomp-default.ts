/**
 * The default seccomp profile of every sandbox: at each point the stricter of what Docker (moby/profiles) and
 * Podman (containers-common) ship, with socket families and netlink protocols allowed by list.
 *
 * Every call in syscalls.ts is decided here by name, which a test checks. Forbidden ones fail with EPERM. What the
 * table does not know, and what is newer than this review, fails with ENOSYS, so that C libraries fall back.
 */
import type { CapabilityName } from "./capabilities.ts";
import { ENOSYS, intArgument, type SeccompAction, type SeccompProfile, type SeccompRule } from "./seccomp.ts";

const PERMISSION_DENIED: SeccompAction = { errno: 1 };
const NOT_IMPLEMENTED: SeccompAction = { errno: ENOSYS };
const PROTOCOL_NOT_SUPPORTED: SeccompAction = { errno: 93 };
const FAMILY_NOT_SUPPORTED: SeccompAction = { errno: 97 };

function words(text: string): string[] {
	return text.trim().split(/\s+/);
}

/**
 * Allowed whatever the arguments.
 *
 * ptrace and process_vm_* are among them: debuggers and tracers are ordinary work in a sandbox, all of its processes
 * are one trust domain, the agent is not dumpable, and since Linux 4.8 a tracer cannot change a call after the
 * filter has passed it.
 */
const ALLOWED = words(`
	accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_adjtime
	clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3
	epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit
	exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat
	fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
	futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents
	getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority
	getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr
	getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
	io_pgetevents io_setup io_submit ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
	landlock_restrict_self lchown lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr
	lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod
	mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink
	mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat
	open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
	prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 ptrace pwrite64
	pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr
	removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
	rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
	sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
	sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
	semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid
	setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt
	setuid setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 splice stat statfs
	statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
	timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate
	umask uname unlink unlinkat uprobe uretprobe utime utimensat utimes vfork wait4 waitid write writev
`);

/** Refused with EPERM, also where a capability is missing that another rule asks for. */
const FORBIDDEN = words(`
	acct add_key bpf chroot clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick
	get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load
	kexec_load keyctl lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mbind migrate_pages
	modify_ldt mount mount_setattr move_mount move_pages open_by_handle_at open_tree open_tree_attr perf_event_open
	pidfd_getfd pivot_root process_madvise quotactl quotactl_fd reboot request_key set_mempolicy
	set_mempolicy_home_node setdomainname sethostname setns settimeofday swapoff swapon sysfs syslog umount2 unshare
	userfaultfd ustat vhangup vmsplice
`);

/** ENOSYS: no longer or never implemented on x86_64, or too new to have been examined. */
const ABSENT = words(`
	_sysctl afs_syscall create_module epoll_ctl_old epoll_wait_old get_kernel_syms getpmsg nfsservctl putpmsg
	query_module security tuxcall uselib vserver
	file_getattr file_setattr listns rseq_slice_yield
`);

/** Calls that come with a capability, because they are useless or harmless without it. */
const WITH_CAPABILITY: readonly (readonly [capabilities: readonly CapabilityName[], names: string])[] = [
	// CVE-2014-3519 and "shocker": a file handle opens any file of the filesystem that a layer or mount lives on.
	[["CAP_DAC_READ_SEARCH"], "open_by_handle_at"],
	[
		["CAP_SYS_ADMIN"],
		`clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
		lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr quotactl quotactl_fd setdomainname
		sethostname setns umount2 unshare`,
	],
	[["CAP_SYS_ADMIN", "CAP_BPF"], "bpf"],
	[["CAP_SYS_ADMIN", "CAP_PERFMON"], "perf_event_open"],
	[["CAP_SYS_ADMIN", "CAP_SYSLOG"], "syslog"],
	[["CAP_SYS_BOOT"], "reboot"],
	[["CAP_SYS_CHROOT"], "chroot"],
	[["CAP_SYS_MODULE"], "delete_module finit_module init_module"],
	[["CAP_SYS_NICE"], "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"],
	[["CAP_SYS_PACCT"], "acct"],
	[["CAP_SYS_PTRACE"], "kcmp pidfd_getfd process_madvise"],
	[["CAP_SYS_RAWIO"], "ioperm iopl"],
	[["CAP_SYS_TIME"], "clock_settime settimeofday"],
	[["CAP_SYS_TTY_CONFIG"], "vhangup"],
];

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; clone(2) has no bit for NEWTIME. */
const NAMESPACE_FLAGS = 0x7e02_0000;

/**
 * Namespaces, above all user namespaces, are the widest way into kernel code that expects privilege. clone3 hides
 * its flags in memory, where a filter cannot look; after ENOSYS C libraries use clone.
 */
const CLONE: readonly SeccompRule[] = [
	{ names: ["clone"], action: "allow", when: [intArgument(0, "equal", 0, NAMESPACE_FLAGS)] },
	{ names: ["clone"], action: PERMISSION_DENIED },
	{ names: ["clone3"], action: NOT_IMPLEMENTED },
];

/** SECURITY: both put input into a terminal, that is into the shell of whoever is attached (CVE-2016-2568). */
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;

const IOCTL: readonly SeccompRule[] = [
	...[TIOCSTI, TIOCLINUX].map(
		(request): SeccompRule => ({
			names: ["ioctl"],
			action: PERMISSION_DENIED,
			when: [intArgument(1, "equal", request)],
		}),
	),
	{ names: ["ioctl"], action: "allow" },
];

/** PER_LINUX, PER_LINUX32, UNAME26 with either, and the query; others weaken ASLR or the checks on mappings. */
const PERSONALITY: readonly SeccompRule[] = [
	...[0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff].map(
		(persona): SeccompRule => ({
			names: ["personality"],
			action: "allow",
			when: [intArgument(0, "equal", persona)],
		}),
	),
	{ names: ["personality"], action: PERMISSION_DENIED },
];

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const AF_PACKET = 17;

/** Netlink protocols: ROUTE, SOCK_DIAG, KOBJECT_UEVENT, GENERIC; then those that need a capability to be of use. */
const NETLINK_PROTOCOLS: readonly (readonly [protocol: number, capability?: CapabilityName])[] = [
	[0],
	[4],
	[15],
	[16],
	[6, "CAP_NET_ADMIN"], // XFRM
	[12, "CAP_NET_ADMIN"], // NETFILTER
	[9, "CAP_AUDIT_WRITE"], // AUDIT; libaudit takes EPROTONOSUPPORT for a kernel without audit and carries on
];

/**
 * Families by list. Left out with all the rest: AF_VSOCK (it reaches the hypervisor, past every network namespace),
 * AF_ALG, AF_KEY, AF_RDS, AF_TIPC, AF_XDP and the radio and bus families, each with a history of kernel exploits.
 */
const SOCKET: readonly SeccompRule[] = [
	...[AF_UNIX, AF_INET, AF_INET6].map((family): SeccompRule => socketRule(family)),
	{ ...socketRule(AF_PACKET), capabilities: ["CAP_NET_RAW"] },
	...NETLINK_PROTOCOLS.map(
		([protocol, capability]): SeccompRule => ({
			names: ["socket"],
			action: "allow",
			when: [intArgument(0, "equal", AF_NETLINK), intArgument(2, "equal", protocol)],
			...(capability && { capabilities: [capability] }),
		}),
	),
	{ ...socketRule(AF_NETLINK), action: PROTOCOL_NOT_SUPPORTED },
	{ names: ["socket"], action: FAMILY_NOT_SUPPORTED },
	{ names: ["socketpair"], action: "allow", when: [intArgument(0, "equal", AF_UNIX)] },
	{ names: ["socketpair"], action: FAMILY_NOT_SUPPORTED },
];

function socketRule(family: number): SeccompRule {
	return { names: ["socket"], action: "allow", when: [intArgument(0, "equal", family)] };
}

export const DEFAULT_PROFILE: SeccompProfile = {
	defaultAction: NOT_IMPLEMENTED,
	rules: [
		{ names: ALLOWED, action: "allow" },
		...WITH_CAPABILITY.map(
			([capabilities, names]): SeccompRule => ({
				names: words(names),
				action: "allow",
				capabilities,
			}),
		),
		...CLONE,
		...IOCTL,
		...PERSONALITY,
		...SOCKET,
		{ names: FORBIDDEN, action: PERMISSION_DENIED },
		{ names: ABSENT, action: NOT_IMPLEMENTED },
	],
};
