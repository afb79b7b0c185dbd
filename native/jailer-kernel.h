/*
 * System calls that libc does not wrap, or wraps differently in musl and glibc. Every wrapper returns the result,
 * or a negative errno: the jailer never reads `errno` after one of these.
 */
#ifndef SHALE_JAILER_KERNEL_H
#define SHALE_JAILER_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2
#define UMOUNT_NOFOLLOW 8
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux ≥ 6.3 */
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2U
#define CLOSE_RANGE_CLOEXEC 4U
#endif
#ifndef PIDFD_GET_INFO
struct pidfd_info { /* Linux ≥ 6.13 */
	uint64_t mask, cgroup_id;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
#define PIDFD_INFO_EXIT 8 /* Linux ≥ 6.15 */
#define PIDFD_GET_INFO _IOWR(0xFF, 11, struct pidfd_info)
#endif
#ifndef CGROUP_SUPER_MAGIC
#define CGROUP_SUPER_MAGIC 0x27e0eb
#endif
#ifndef CGROUP2_SUPER_MAGIC
#define CGROUP2_SUPER_MAGIC 0x63677270
#endif

static inline int sys_result(long result)
{
	return result < 0 ? -errno : (int)result;
}

static inline int sys_openat2(int dir_fd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
	return sys_result(syscall(SYS_openat2, dir_fd, path, &how, sizeof how));
}

static inline int sys_clone3(struct clone_args *args)
{
	return sys_result(syscall(SYS_clone3, args, sizeof *args));
}

static inline int sys_setns(int fd, int type)
{
	return sys_result(syscall(SYS_setns, fd, type));
}

static inline int sys_unshare(int flags)
{
	return sys_result(syscall(SYS_unshare, flags));
}

static inline int sys_mount(const char *source, const char *target, const char *type, unsigned long flags,
			    const char *options)
{
	return sys_result(syscall(SYS_mount, source, target, type, flags, options));
}

static inline int sys_umount2(const char *target, int flags)
{
	return sys_result(syscall(SYS_umount2, target, flags));
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
	return sys_result(syscall(SYS_pivot_root, new_root, put_old));
}

/* The new mount API, Linux ≥ 5.2. */
static inline int sys_open_tree(int dir_fd, const char *path, unsigned flags)
{
	return sys_result(syscall(SYS_open_tree, dir_fd, path, flags | OPEN_TREE_CLOEXEC));
}

/* Attaches the mount of `mount_fd` on `path` below `dir_fd`; with path "" on `dir_fd` itself. */
static inline int sys_move_mount(int mount_fd, int dir_fd, const char *path)
{
	unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*path == 0 ? MOVE_MOUNT_T_EMPTY_PATH : 0);
	return sys_result(syscall(SYS_move_mount, mount_fd, "", dir_fd, path, flags));
}

static inline int sys_fsopen(const char *type)
{
	return sys_result(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}

static inline int sys_fsconfig(int fs_fd, unsigned command, const char *key, const char *value)
{
	return sys_result(syscall(SYS_fsconfig, fs_fd, command, key, value, 0));
}

static inline int sys_fsmount(int fs_fd, unsigned attributes)
{
	return sys_result(syscall(SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC, attributes));
}

/* Linux ≥ 5.12. */
static inline int sys_mount_setattr(int fd, unsigned flags, uint64_t set, int userns_fd)
{
	struct mount_attr attributes = {.attr_set = set, .userns_fd = userns_fd < 0 ? 0 : (uint64_t)userns_fd};
	return sys_result(
		syscall(SYS_mount_setattr, fd, "", flags | AT_EMPTY_PATH, &attributes, sizeof attributes));
}

static inline int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
	return sys_result(syscall(SYS_close_range, first, last, flags));
}

static inline int sys_pidfd_open(pid_t pid)
{
	return sys_result(syscall(SYS_pidfd_open, pid, 0));
}

static inline int sys_pidfd_send_signal(int pidfd, int signo)
{
	return sys_result(syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0));
}

/* waitid(2) as the kernel has it, with the rusage that libc leaves out. */
static inline int sys_waitid(int type, int id, void *siginfo, int options, struct rusage *usage)
{
	return sys_result(syscall(SYS_waitid, type, id, siginfo, options, usage));
}

#endif
