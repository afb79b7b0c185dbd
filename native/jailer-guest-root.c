/*
 * Guest operations that build the root: mounts, masks, directories.
 *
 * The contents of the root are hostile: layers come from anywhere. Every path is resolved beneath the root's
 * descriptor while nobody else runs in the sandbox, so there are no races; what is left are symlinks. The targets of
 * mounts take none at all. Other paths may follow symlinks, which the kernel resolves as if the root were "/".
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define STRICT (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

static const char *const guest_filesystems[] = {"proc", "sysfs", "tmpfs", "devpts", "mqueue"};

static bool is_guest_filesystem(const char *name)
{
	for (size_t i = 0; i < sizeof guest_filesystems / sizeof *guest_filesystems; i++)
		if (strcmp(guest_filesystems[i], name) == 0)
			return true;
	return false;
}

/* A path of the plan relative to the root, or NULL when it is not absolute. */
static const char *relative_to_root(const char *path)
{
	if (*path != '/')
		return NULL;
	while (*path == '/')
		path++;
	return *path == 0 ? "." : path;
}

/* O_PATH descriptor of a path in the root, or a negative errno. */
static int open_in_root(const struct guest *guest, const char *path, uint64_t flags, uint64_t resolve)
{
	const char *relative = relative_to_root(path);
	return relative == NULL ? -EINVAL : sys_openat2(guest->root_fd, relative, O_PATH | flags, 0, resolve);
}

/* Opens the directory `name` of `dir_fd`, having made it if missing; `path` is the whole path so far. */
static int step_into(const struct guest *guest, int dir_fd, const char *name, const char *path, mode_t mode,
		     uint64_t resolve)
{
	int fd = sys_openat2(guest->root_fd, path, O_PATH | O_DIRECTORY, 0, resolve);
	if (fd != -ENOENT)
		return fd;
	if (mkdirat(dir_fd, name, mode) < 0)
		return -errno;
	return sys_openat2(guest->root_fd, path, O_PATH | O_DIRECTORY, 0, resolve);
}

/* Like mkdir -p. Missing parents get 0755, the last component `mode`. A descriptor, or a negative errno. */
static int make_directories(const struct guest *guest, const char *path, mode_t mode, uint64_t resolve)
{
	char copy[PATH_MAX];
	int fd = open_in_root(guest, path, O_DIRECTORY, resolve);
	if (fd != -ENOENT || strlen(path) >= sizeof copy)
		return fd;
	strcpy(copy, relative_to_root(path));
	int dir_fd = sys_openat2(guest->root_fd, ".", O_PATH | O_DIRECTORY, 0, resolve);
	for (char *name = copy, *slash; dir_fd >= 0; name = slash + 1) {
		slash = strchr(name, '/');
		if (slash != NULL)
			*slash = 0;
		fd = *name == 0 ? -EINVAL : step_into(guest, dir_fd, name, copy, slash == NULL ? mode : 0755, resolve);
		close(dir_fd);
		dir_fd = fd;
		if (slash == NULL)
			break;
		*slash = '/';
	}
	return dir_fd;
}

/* A detached mount, or -1 after fail(). */
static int make_filesystem(struct launch *launch, const struct plan_op *op)
{
	const char *filesystem = plan_text(op, 0), *options = op->word_count > 3 ? plan_text(op, 3) : "";
	uint64_t attributes;
	int mount_fd = -EPERM;
	if (!is_guest_filesystem(filesystem))
		fail(launch, EPERM, filesystem, "not a filesystem for guests");
	else if (!parse_mount_flags(plan_text(op, 2), &attributes))
		fail(launch, EINVAL, plan_text(op, 2), "unknown mount flag");
	else if ((mount_fd = mount_new(filesystem, options, attributes)) < 0)
		fail(launch, mount_fd, filesystem, "making the filesystem");
	return mount_fd < 0 ? -1 : mount_fd;
}

bool op_mount(struct guest *guest, const struct plan_op *op)
{
	const char *target = plan_text(op, 1);
	int mount_fd = make_filesystem(guest->launch, op);
	if (mount_fd < 0)
		return false;
	int target_fd = make_directories(guest, target, 0755, STRICT);
	int error = target_fd < 0 ? target_fd : sys_move_mount(mount_fd, target_fd, "");
	close_fd(&mount_fd);
	close_fd(&target_fd);
	return error == 0 || fail(guest->launch, error, target, "mounting");
}

/* Attaches a part of the nursery on `target_fd`. The nursery's superblock is read-only, and so is this. */
static int attach_from_nursery(const struct guest *guest, const char *part, int target_fd)
{
	int mount_fd = sys_open_tree(guest->nursery_fd, part, OPEN_TREE_CLONE);
	int error = mount_fd < 0 ? mount_fd : sys_move_mount(mount_fd, target_fd, "");
	close_fd(&mount_fd);
	return error;
}

bool op_mount_dev(struct guest *guest, const struct plan_op *op)
{
	(void)op;
	int target_fd = make_directories(guest, "/dev", 0755, STRICT);
	int error = target_fd < 0 ? target_fd : attach_from_nursery(guest, "dev", target_fd);
	close_fd(&target_fd);
	return error == 0 || fail(guest->launch, error, "/dev", "attaching the devices");
}

bool op_mask(struct guest *guest, const struct plan_op *op)
{
	const char *path = plan_text(op, 0);
	struct stat status;
	int target_fd = open_in_root(guest, path, 0, IN_ROOT);
	if (target_fd == -ENOENT)
		return true;
	int error = target_fd < 0 ? target_fd : sys_result(fstat(target_fd, &status));
	if (error == 0)
		error = attach_from_nursery(guest, S_ISDIR(status.st_mode) ? "mask/dir" : "mask/null", target_fd);
	close_fd(&target_fd);
	return error == 0 || fail(guest->launch, error, path, "masking");
}

bool op_readonly(struct guest *guest, const struct plan_op *op)
{
	const char *path = plan_text(op, 0);
	int target_fd = open_in_root(guest, path, 0, IN_ROOT);
	if (target_fd == -ENOENT)
		return true;
	int mount_fd = target_fd;
	if (target_fd >= 0)
		mount_fd = sys_open_tree(target_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE);
	int error = mount_fd < 0 ? mount_fd : sys_mount_setattr(mount_fd, AT_RECURSIVE, MOUNT_ATTR_RDONLY, -1);
	if (error == 0)
		error = sys_move_mount(mount_fd, target_fd, "");
	if (mount_fd != target_fd)
		close_fd(&mount_fd);
	close_fd(&target_fd);
	return error == 0 || fail(guest->launch, error, path, "making read-only");
}

bool op_dir(struct guest *guest, const struct plan_op *op)
{
	const char *path = plan_text(op, 0);
	uint64_t mode;
	if (!plan_octal(plan_text(op, 1), 01777, &mode))
		return fail(guest->launch, EINVAL, plan_text(op, 1), "not a mode");
	int fd = make_directories(guest, path, (mode_t)mode, IN_ROOT);
	if (fd < 0)
		return fail(guest->launch, fd, path, "making the directory");
	close(fd);
	return true;
}
