/*
 * The root of a sandbox: an overlay of layer mounts and a writable part. The overlay is made with the credentials
 * of the host's root, inside the child's own mount namespace, so whatever happens to the child, the kernel takes
 * all of these mounts with it.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Inodes of the upper that we use ourselves: its root, up, work, work/work. */
#define UPPER_OWN_INODES 4

static int open_child_userns(const struct launch *launch)
{
	char path[32];
	snprintf(path, sizeof path, "%d/ns/user", launch->child.pid);
	return sys_openat2(launch->jailer->proc_fd, path, O_RDONLY, 0, 0);
}

bool op_root_begin(struct launch *launch, const struct plan_op *op)
{
	(void)op;
	if (launch->host_id_base == 0)
		return true;
	launch->root.userns_fd = open_child_userns(launch);
	return launch->root.userns_fd >= 0 ||
	       fail(launch, launch->root.userns_fd, "", "opening the child's user namespace");
}

static int give_to_sandbox(const struct launch *launch, int fd)
{
	return fchmod(fd, 0755) < 0 || fchown(fd, launch->host_id_base, launch->host_id_base) < 0 ? -errno : 0;
}

/* A kept upper is made of the host ids of before: with other ones, nothing in it would belong to anybody inside. */
static int check_owner(const struct launch *launch, int fd)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		return -errno;
	return status.st_uid - launch->host_id_base < launch->host_id_count ? 0 : -EUSERS;
}

/* `up` becomes the root directory of the sandbox, hence its mode and owner; on a kept upper it has them already. */
static int make_upper_directory(const struct launch *launch, const char *name)
{
	int upper_fd = launch->root.upper_fd, made = sys_result(mkdirat(upper_fd, name, 0755));
	if (made < 0 && made != -EEXIST)
		return made;
	int fd = openat(upper_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int error = made == 0 ? give_to_sandbox(launch, fd) : check_owner(launch, fd);
	close(fd);
	return error;
}

static bool keep_upper(struct launch *launch, int upper_fd, const char *path)
{
	if (upper_fd < 0)
		return fail(launch, upper_fd, path, "mounting the upper");
	launch->root.upper_fd = upper_fd;
	int error = make_upper_directory(launch, "up");
	if (error == 0)
		error = make_upper_directory(launch, "work");
	return error == 0 || fail(launch, error, path, "making the directories of the upper");
}

bool op_root_upper_tmpfs(struct launch *launch, const struct plan_op *op)
{
	uint64_t bytes, inodes;
	char options[96];
	if (!plan_decimal(plan_text(op, 0), INT64_MAX, &bytes) || bytes == 0)
		return fail(launch, EINVAL, plan_text(op, 0), "not a size");
	if (!plan_decimal(plan_text(op, 1), INT32_MAX, &inodes) || inodes == 0)
		return fail(launch, EINVAL, plan_text(op, 1), "not a number of inodes");
	/* Zero would mean "no limit" to the kernel. */
	snprintf(options, sizeof options, "mode=0700,size=%llu,nr_inodes=%llu", (unsigned long long)bytes,
		 (unsigned long long)inodes + UPPER_OWN_INODES);
	return keep_upper(launch, mount_new("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), "tmpfs");
}

bool op_root_upper_disk(struct launch *launch, const struct plan_op *op)
{
	const char *image = plan_text(op, 0);
	int image_fd = open_image(launch->jailer, image, O_RDWR);
	if (image_fd < 0)
		return fail(launch, image_fd, image, "opening the image; " IMAGE_RULE);
	int upper_fd = mount_image(launch, image_fd, image, &(struct image_kind){"ext4", .read_only = false});
	close(image_fd);
	return upper_fd >= 0 && keep_upper(launch, upper_fd, image);
}

static int attach_parts(const struct root *root)
{
	char path[32];
	for (uint32_t i = 0; i < root->layer_count; i++) {
		snprintf(path, sizeof path, "/lower/%u", i);
		int error = sys_move_mount(root->layer_fds[i], AT_FDCWD, path);
		if (error < 0)
			return error;
	}
	return sys_move_mount(root->upper_fd, AT_FDCWD, "/upper");
}

/* "2:1:0": the last layer of the plan is the uppermost. Short names, as mount(2) takes 4095 bytes of options. */
static void list_layers(uint32_t count, char *text, size_t size)
{
	size_t length = 0;
	while (count-- > 0)
		length += (size_t)snprintf(text + length, size - length, "%u%s", count, count > 0 ? ":" : "");
}

static int mount_overlay(const struct root *root, uint64_t attributes)
{
	char layers[ROOT_MAX_LAYERS * 4 + 1], options[sizeof layers + 64];
	unsigned long flags = (attributes & MOUNT_ATTR_NOSUID ? MS_NOSUID : 0) |
			      (attributes & MOUNT_ATTR_NODEV ? MS_NODEV : 0);
	list_layers(root->layer_count, layers, sizeof layers);
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=/upper/up,workdir=/upper/work", layers);
	int error = sys_result(chdir("/lower"));
	return error < 0 ? error : sys_mount("overlay", "/root", "overlay", flags, options);
}

bool op_root_end(struct launch *launch, const struct plan_op *op)
{
	uint64_t attributes;
	const uint64_t allowed = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	if (!parse_mount_flags(plan_text(op, 0), &attributes) || (attributes & ~allowed) != 0)
		return fail(launch, EINVAL, plan_text(op, 0), "the root takes nosuid and nodev");
	int error = sys_setns(launch->child.pidfd, CLONE_NEWNS);
	if (error < 0)
		return fail(launch, error, "", "entering the child's mount namespace");
	error = attach_parts(&launch->root);
	const char *step = "attaching the layers";
	if (error == 0) {
		error = mount_overlay(&launch->root, attributes);
		step = "mounting the overlay";
	}
	/* A jailer that is left in a sandbox's namespace must not go on. */
	int stranded = sys_setns(launch->jailer->home_ns, CLONE_NEWNS);
	if (stranded < 0)
		die("returning to the home namespace", stranded);
	return error == 0 || fail(launch, error, "", step);
}
