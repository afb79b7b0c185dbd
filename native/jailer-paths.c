/*
 * Where a host path of a plan may point. The prefix decides which tree is meant; everything after it is resolved
 * by the kernel beneath that tree's descriptor, so that no "..", symlink or race leads out of it.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

const char *path_below(const char *path, const char *base)
{
	size_t length = strlen(base);
	if (strncmp(path, base, length) != 0 || path[length] != '/')
		return NULL;
	path += length;
	while (*path == '/')
		path++;
	return *path == 0 ? NULL : path;
}

static bool has_parent_component(const char *path)
{
	for (const char *at = path; (at = strstr(at, "..")) != NULL; at += 2)
		if ((at == path || at[-1] == '/') && (at[2] == 0 || at[2] == '/'))
			return true;
	return false;
}

/* By text, which is enough: cgroup filesystems hold no symlinks. */
bool is_cgroup_in_reach(const struct jailer *jailer, const char *path)
{
	if (jailer->cgroup_count == 0)
		return true;
	for (uint32_t i = 0; i < jailer->cgroup_count; i++)
		if (strcmp(path, jailer->cgroups[i]) == 0 || path_below(path, jailer->cgroups[i]) != NULL)
			return !has_parent_component(path);
	return false;
}

static int check_cgroup_filesystem(int fd)
{
	struct statfs status;
	if (fstatfs(fd, &status) < 0)
		return -errno;
	if (status.f_type != CGROUP_SUPER_MAGIC && status.f_type != CGROUP2_SUPER_MAGIC)
		return -EXDEV;
	return 0;
}

/* Symlinks like /sys/fs/cgroup/cpu → cpu,cpuacct are the host's own and stay beneath. */
int open_cgroup(const struct jailer *jailer, const char *path, uint64_t flags)
{
	const char *relative = path_below(path, CGROUP_ROOT);
	if (relative == NULL || !is_cgroup_in_reach(jailer, path))
		return -EXDEV;
	int fd = sys_openat2(jailer->cgroup_fd, relative, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
	if (fd < 0)
		return fd;
	int error = check_cgroup_filesystem(fd);
	if (error == 0)
		return fd;
	close(fd);
	return error;
}

static bool is_plain_name(const char *name)
{
	return *name != 0 && strlen(name) <= NAME_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int open_spot(int base_fd, const char *relative, uint64_t resolve, struct spot *spot)
{
	char parent[PATH_MAX] = ".";
	const char *slash = strrchr(relative, '/');
	spot->name = slash == NULL ? relative : slash + 1;
	if (!is_plain_name(spot->name))
		return -EINVAL;
	if (slash != NULL) {
		size_t length = (size_t)(slash - relative);
		if (length >= sizeof parent)
			return -ENAMETOOLONG;
		memcpy(parent, relative, length);
		parent[length] = 0;
	}
	spot->dir_fd = sys_openat2(base_fd, parent, O_PATH | O_DIRECTORY, 0, resolve);
	return spot->dir_fd < 0 ? spot->dir_fd : 0;
}

int cgroup_spot(const struct jailer *jailer, const char *path, struct spot *spot)
{
	const char *relative = path_below(path, CGROUP_ROOT);
	if (relative == NULL || !is_cgroup_in_reach(jailer, path))
		return -EXDEV;
	int error = open_spot(jailer->cgroup_fd, relative, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS, spot);
	if (error == 0 && (error = check_cgroup_filesystem(spot->dir_fd)) < 0)
		close_fd(&spot->dir_fd);
	return error;
}

int allowed_spot(const struct jailer *jailer, const char *path, struct spot *spot)
{
	for (uint32_t i = 0; i < jailer->allowed_count; i++) {
		const char *relative = path_below(path, jailer->allowed[i].path);
		if (relative != NULL)
			return open_spot(jailer->allowed[i].fd, relative, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, spot);
	}
	return -EXDEV;
}

static int find_image(const struct jailer *jailer, const char *path, int flags)
{
	uint64_t how = (uint64_t)flags | O_NOFOLLOW | O_NONBLOCK;
	if (jailer->owner.uid == 0)
		return sys_openat2(AT_FDCWD, path, how, 0, RESOLVE_NO_MAGICLINKS);
	for (uint32_t i = 0; i < jailer->owner.image_count; i++) {
		const struct allowed *folder = &jailer->owner.images[i];
		const char *relative = path_below(path, folder->path);
		if (relative != NULL)
			return sys_openat2(folder->fd, relative, how, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	}
	return -EXDEV;
}

int open_image(const struct jailer *jailer, const char *path, int flags)
{
	if (path[0] != '/')
		return -EINVAL;
	act_as_owner(jailer);
	int fd = find_image(jailer, path, flags);
	act_as_root(jailer);
	int error = fd < 0 ? fd : check_image(jailer, fd);
	if (error == 0)
		return fd;
	close_fd(&fd);
	return error;
}
