/* Operations on directories, files and sockets of the host. All paths lie below an allowed directory. */
#include "jailer.h"
#include "jailer-kernel.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LISTEN_BACKLOG 64
#define OUTSIDE "the path is not below the run directory or one of --allow"

static bool find_spot(struct launch *launch, const char *path, struct spot *spot)
{
	int error = allowed_spot(launch->jailer, path, spot);
	if (error == -EXDEV)
		return fail(launch, error, path, OUTSIDE);
	return error == 0 || fail(launch, error, path, "opening the parent directory");
}

bool op_dir_create(struct launch *launch, const struct plan_op *op)
{
	const char *path = plan_text(op, 0);
	uint64_t mode;
	struct spot spot;
	if (!plan_octal(plan_text(op, 1), 0777, &mode))
		return fail(launch, EINVAL, plan_text(op, 1), "not a mode");
	if (!find_spot(launch, path, &spot))
		return false;
	/* Only group and others are subject to the umask, so the mode is set by the one call that makes it. */
	mode_t old_mask = umask(0);
	int error = sys_result(mkdirat(spot.dir_fd, spot.name, (mode_t)mode));
	umask(old_mask);
	close(spot.dir_fd);
	return error == 0 || fail(launch, error, path, "creating the directory");
}

static bool remove_entry(struct launch *launch, const char *path, int flags)
{
	struct spot spot;
	int error = allowed_spot(launch->jailer, path, &spot);
	if (error == -EXDEV)
		return fail(launch, error, path, OUTSIDE);
	if (error == 0) {
		error = sys_result(unlinkat(spot.dir_fd, spot.name, flags));
		close(spot.dir_fd);
	}
	return error == 0 || error == -ENOENT || fail(launch, error, path, "removing");
}

bool op_dir_remove(struct launch *launch, const struct plan_op *op)
{
	return remove_entry(launch, plan_text(op, 0), AT_REMOVEDIR);
}

bool op_file_remove(struct launch *launch, const struct plan_op *op)
{
	return remove_entry(launch, plan_text(op, 0), 0);
}

void undo_dir_create(struct launch *launch, const struct plan_op *op)
{
	remove_entry(launch, plan_text(op, 0), AT_REMOVEDIR);
}

void undo_listen(struct launch *launch, const struct plan_op *op)
{
	remove_entry(launch, plan_text(op, 1), 0);
}

/* Binds by way of the directory's descriptor: bind(2) knows no dirfd, and sun_path is short. */
static int bind_at(int socket_fd, const struct spot *spot)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", spot->dir_fd, spot->name);
	if (length >= (int)sizeof address.sun_path)
		return -ENAMETOOLONG;
	mode_t old_mask = umask(0177);
	int error = sys_result(bind(socket_fd, (struct sockaddr *)&address, sizeof address));
	umask(old_mask);
	return error;
}

bool op_listen(struct launch *launch, const struct plan_op *op)
{
	const char *path = plan_text(op, 1);
	uint64_t slot;
	struct spot spot;
	if (!plan_decimal(plan_text(op, 0), MAX_SLOTS - 1, &slot) || launch->slots[slot] >= 0)
		return fail(launch, EINVAL, plan_text(op, 0), "not a free slot");
	if (!find_spot(launch, path, &spot))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int error = fd < 0 ? -errno : bind_at(fd, &spot);
	if (error == 0 && listen(fd, LISTEN_BACKLOG) < 0) {
		error = -errno;
		unlinkat(spot.dir_fd, spot.name, 0);
	}
	close(spot.dir_fd);
	if (error == 0) {
		launch->slots[slot] = fd;
		return true;
	}
	close_fd(&fd);
	return fail(launch, error, path, "listening");
}
