/*
 * Layers: squashfs images, each mounted once, read-only, at RUN/mnt/ID in the jailer's own mount namespace. A stack
 * uses private clones of these mounts, so a layer may be unmounted here while sandboxes still run on it.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#ifndef LOOP_CONFIGURE
#define LOOP_CONFIGURE 0x4C0A
#endif
#define LOOP_ATTEMPTS 64
#define LOOP_PATH_BYTES 32

/* Another program may take the free device between our two steps: then the next one. */
static int attach_loop(int image_fd, const char *image_path, bool read_only, char loop_path[LOOP_PATH_BYTES])
{
	struct loop_config config = {.fd = (uint32_t)image_fd};
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0);
	snprintf((char *)config.info.lo_file_name, sizeof config.info.lo_file_name, "%s", image_path);
	int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control_fd < 0)
		return -errno;
	int fd = -1, error = -EBUSY;
	for (int attempt = 0; attempt < LOOP_ATTEMPTS && error == -EBUSY; attempt++) {
		int number = sys_result(ioctl(control_fd, LOOP_CTL_GET_FREE));
		if (number < 0) {
			error = number;
			break;
		}
		snprintf(loop_path, LOOP_PATH_BYTES, "/dev/loop%d", number);
		fd = open(loop_path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		error = fd < 0 ? -errno : sys_result(ioctl(fd, LOOP_CONFIGURE, &config));
		if (error < 0)
			close_fd(&fd);
	}
	close(control_fd);
	return error < 0 ? error : fd;
}

static int mount_device(const char *device, const char *filesystem, bool read_only)
{
	uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0);
	int fs_fd = sys_fsopen(filesystem);
	if (fs_fd < 0)
		return fs_fd;
	int error = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", device);
	if (error == 0 && read_only)
		error = sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL);
	if (error == 0)
		error = sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL);
	int mount_fd = error < 0 ? error : sys_fsmount(fs_fd, (unsigned)attributes);
	close(fs_fd);
	return mount_fd;
}

int mount_image(struct launch *launch, int image_fd, const char *path, const struct image_kind *kind)
{
	char loop_path[LOOP_PATH_BYTES];
	int loop_fd = attach_loop(image_fd, path, kind->read_only, loop_path);
	if (loop_fd < 0) {
		/* A device node that is missing is a host without such devices, and no missing image. */
		fail(launch, loop_fd == -ENOENT ? -ENODEV : loop_fd, path, "attaching the image to a loop device");
		return -1;
	}
	int mount_fd = mount_device(loop_path, kind->filesystem, kind->read_only);
	close(loop_fd);
	if (mount_fd < 0)
		fail(launch, mount_fd, path, "mounting the image");
	return mount_fd < 0 ? -1 : mount_fd;
}

static bool is_layer_id(const char *id)
{
	size_t length = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
	return length > 0 && id[length] == 0 && length <= 128 && id[0] != '.';
}

/* A layer is mounted on its directory when that lies on another filesystem than its parent. */
static bool is_mounted(const struct jailer *jailer, const char *id)
{
	struct stat parent, directory;
	return fstat(jailer->layers_fd, &parent) == 0 &&
	       fstatat(jailer->layers_fd, id, &directory, AT_SYMLINK_NOFOLLOW) == 0 &&
	       directory.st_dev != parent.st_dev;
}

static bool check_layer(struct launch *launch, const char *id)
{
	if (launch->jailer->layers_fd < 0)
		return fail(launch, EINVAL, id, "layers need a run directory");
	return is_layer_id(id) || fail(launch, EINVAL, id, "not a layer id");
}

bool op_layer_mount(struct launch *launch, const struct plan_op *op)
{
	const char *id = plan_text(op, 0), *image = plan_text(op, 1);
	int layers_fd = launch->jailer->layers_fd;
	if (!check_layer(launch, id))
		return false;
	if (is_mounted(launch->jailer, id))
		return true;
	int image_fd = open_image(launch->jailer, image, O_RDONLY);
	if (image_fd < 0)
		return fail(launch, image_fd, image, "opening the image; " IMAGE_RULE);
	int mount_fd = mount_image(launch, image_fd, image, &(struct image_kind){"squashfs", .read_only = true});
	close(image_fd);
	if (mount_fd < 0)
		return false;
	int error = sys_result(mkdirat(layers_fd, id, 0700));
	if (error == 0 || error == -EEXIST)
		error = sys_move_mount(mount_fd, layers_fd, id);
	close(mount_fd);
	return error == 0 || fail(launch, error, id, "attaching the layer");
}

bool op_layer_unmount(struct launch *launch, const struct plan_op *op)
{
	const char *id = plan_text(op, 0);
	char path[PATH_MAX];
	if (!check_layer(launch, id))
		return false;
	if (!is_mounted(launch->jailer, id))
		return true;
	/* By descriptor, as the run directory's name may mean another place by now. */
	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", launch->jailer->layers_fd, id);
	int error = sys_umount2(path, UMOUNT_NOFOLLOW);
	if (error == 0)
		error = sys_result(unlinkat(launch->jailer->layers_fd, id, AT_REMOVEDIR));
	return error == 0 || fail(launch, error, id, "unmounting the layer");
}

bool op_root_layer(struct launch *launch, const struct plan_op *op)
{
	const char *id = plan_text(op, 0);
	struct root *root = &launch->root;
	if (!check_layer(launch, id))
		return false;
	if (root->layer_count == ROOT_MAX_LAYERS)
		return fail(launch, E2BIG, id, "too many layers");
	if (!is_mounted(launch->jailer, id))
		return fail(launch, ENOENT, id, "the layer is not mounted");
	int fd = sys_open_tree(launch->jailer->layers_fd, id, OPEN_TREE_CLONE);
	if (fd < 0)
		return fail(launch, fd, id, "cloning the layer's mount");
	root->layer_fds[root->layer_count++] = fd;
	if (root->userns_fd < 0)
		return true;
	int error = sys_mount_setattr(fd, 0, MOUNT_ATTR_IDMAP, root->userns_fd);
	return error == 0 || fail(launch, error, id, "mapping the layer's ids");
}
