// stat, chmod and chown.
#define _GNU_SOURCE
#include "agent-files-path.h"
#include "agent-files-reply.h"
#include "agent-files-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 // Linux ≥ 6.6
#endif

enum { SET_MODE = 1, SET_UID = 2, SET_GID = 4 };

// The INFO record of an O_PATH descriptor's file.
static int reply_descriptor(int fd)
{
	struct stat status;
	char target[PATH_MAX] = "";
	if (fstat(fd, &status) < 0)
		return errno;
	if (S_ISLNK(status.st_mode)) {
		ssize_t length = readlinkat(fd, "", target, sizeof target - 1);
		target[length > 0 ? length : 0] = 0;
	}
	reply_info(&status, "", target);
	return 0;
}

int files_stat(struct wire_reader *request)
{
	bool follows = wire_take_u8(request);
	const char *path;
	int error = take_path(request, &path);
	if (error)
		return error;
	int fd = open(path, O_PATH | O_CLOEXEC | (follows ? 0 : O_NOFOLLOW));
	return fd < 0 ? errno : reply_descriptor(fd);
}

// fchmod(2) refuses O_PATH descriptors.
static int change_mode(int fd, mode_t mode)
{
	if (syscall(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOSYS)
		return errno;
	char path[32];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return chmod(path, mode) < 0 ? errno : 0;
}

// On one descriptor, so that both changes are of the same file. The owner first: changing it clears setuid.
int files_set_attributes(struct wire_reader *request)
{
	uint8_t what = wire_take_u8(request);
	uint32_t mode = wire_take_u32(request), uid = wire_take_u32(request), gid = wire_take_u32(request);
	const char *path;
	int error = take_path(request, &path);
	if (error)
		return error;
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno;
	uid_t owner = what & SET_UID ? uid : (uid_t)-1;
	gid_t group = what & SET_GID ? gid : (gid_t)-1;
	if ((what & (SET_UID | SET_GID)) && fchownat(fd, "", owner, group, AT_EMPTY_PATH) < 0)
		return errno;
	if (what & SET_MODE)
		error = change_mode(fd, mode & 07777);
	return error ? error : reply_descriptor(fd);
}
