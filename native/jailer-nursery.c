/*
 * The nursery: a mount namespace that holds next to nothing. Children are cloned in it, so that a sandbox's mount
 * namespace is a copy of four mounts and never contains the host's tree, not even for a moment.
 *
 *   /            tmpfs, read-only
 *   /dev         the device nodes of every sandbox, see mount_dev
 *   /mask        what is laid over a hidden file (null) or directory (dir)
 *   /lower/0..   where a stack's layers are attached while its overlay is made
 *   /upper       likewise for the writable part
 *   /root        where the overlay is attached
 *   /proc /sys   the kernel lets a user namespace mount these two only where they are already fully visible
 *
 * A child leaves this tree behind, with all that was attached there, before the first operation that is not part
 * of building its root.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const char *const directories[] = {
	"root", "upper", "lower", "proc", "sys", "mask", "mask/dir", "dev", "dev/pts", "dev/shm", "dev/mqueue",
};

static const struct {
	const char *path;
	unsigned major, minor;
} devices[] = {
	{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7}, {"dev/random", 1, 8},
	{"dev/urandom", 1, 9}, {"dev/tty", 5, 0}, {"mask/null", 1, 3},
};

static const struct {
	const char *target, *path;
} links[] = {
	{"/proc/self/fd", "dev/fd"},	   {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
	{"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void check(const char *what, int result)
{
	if (result < 0)
		die(what, errno);
}

static void make_layer_directories(void)
{
	char path[32];
	for (int i = 0; i < ROOT_MAX_LAYERS; i++) {
		snprintf(path, sizeof path, "lower/%d", i);
		check(path, mkdir(path, 0755));
	}
}

/* In the current directory. Modes are exact: the umask is lifted meanwhile. */
static void fill(void)
{
	mode_t old_mask = umask(0);
	for (size_t i = 0; i < COUNT(directories); i++)
		check(directories[i], mkdir(directories[i], 0755));
	for (size_t i = 0; i < COUNT(devices); i++)
		check(devices[i].path,
		      mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)));
	for (size_t i = 0; i < COUNT(links); i++)
		check(links[i].path, symlink(links[i].target, links[i].path));
	make_layer_directories();
	umask(old_mask);
}

static void mount_or_die(const char *filesystem, const char *target)
{
	int error = sys_mount(filesystem, target, filesystem, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	if (error < 0)
		die(target, error);
}

/* Makes the directory that holds the new tree the root, and drops everything else. */
static void become_root(void)
{
	int error = sys_pivot_root(".", ".");
	if (error == 0)
		error = sys_umount2(".", MNT_DETACH);
	if (error == 0)
		error = sys_result(chdir("/"));
	if (error < 0)
		die("nursery root", error);
}

/* Mounts the empty tree over a directory that exists everywhere; only this namespace sees it. */
static void enter_new_tree(void)
{
	int fd = mount_new("tmpfs", "mode=0755,size=1m", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	int error = fd < 0 ? fd : sys_move_mount(fd, AT_FDCWD, "/proc");
	if (error == 0)
		error = sys_result(fchdir(fd));
	if (error < 0)
		die("nursery", error);
	close(fd);
}

/* Builds the nursery and returns to the home namespace. The descriptor of the nursery's namespace. */
int nursery_open(struct jailer *jailer)
{
	int error = sys_unshare(CLONE_NEWNS);
	if (error == 0)
		error = sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (error < 0)
		die("nursery namespace", error);
	enter_new_tree();
	fill();
	mount_or_die("proc", "proc");
	mount_or_die("sysfs", "sys");
	jailer->null_fd = open("dev/null", O_RDWR | O_CLOEXEC);
	check("dev/null", jailer->null_fd);
	become_root();
	error = sys_mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL);
	if (error < 0)
		die("nursery, read-only", error);
	int fd = sys_openat2(AT_FDCWD, "/proc/self/ns/mnt", O_RDONLY, 0, 0);
	if (fd < 0)
		die("nursery namespace", fd);
	error = sys_setns(jailer->home_ns, CLONE_NEWNS);
	if (error < 0)
		die("home namespace", error);
	return fd;
}
