// Reading a file. INFO says how much there is, BYTES are as much of it as was asked for. A file that grows meanwhile gives
// no more than was announced; one that shrinks is EIO.
#define _GNU_SOURCE
#include "agent-files-read.h"

#include "agent-files-reply.h"
#include "agent-files-path.h"
#include "agent-files-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int open_regular(const char *path, struct stat *status)
{
	char reopened[32];
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, status) < 0)
		return -errno;
	if (!S_ISREG(status->st_mode))
		return S_ISDIR(status->st_mode) ? -EISDIR : -EINVAL;
	snprintf(reopened, sizeof reopened, "/proc/self/fd/%d", fd);
	int reading = open(reopened, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int error = errno;
	close(fd);
	return reading < 0 ? -error : reading;
}

static ssize_t read_some(int fd, void *bytes, size_t size)
{
	ssize_t count;
	do
		count = read(fd, bytes, size);
	while (count < 0 && errno == EINTR);
	return count;
}

int64_t send_file(int fd, uint64_t length)
{
	uint64_t sent = 0;
	while (sent < length) {
		size_t size = length - sent < REPLY_BYTES_ROOM ? (size_t)(length - sent) : REPLY_BYTES_ROOM;
		ssize_t count = read_some(fd, reply_bytes_space(), size);
		if (count < 0)
			return -errno;
		if (!count)
			break;
		reply_bytes((size_t)count);
		sent += (uint64_t)count;
	}
	return (int64_t)sent;
}

// Files of /proc and /sys say that they are empty, and are not: reading is how their length becomes known. What is beyond
// one buffer of them is not sent.
static int read_sizeless(int fd, struct stat *status, uint64_t offset, uint64_t length)
{
	static uint8_t content[REPLY_BYTES_ROOM];
	size_t size = 0;
	ssize_t count;
	while (size < sizeof content && (count = read_some(fd, content + size, sizeof content - size)) > 0)
		size += (size_t)count;
	status->st_size = (off_t)size;
	reply_info(status, "", "");
	if (offset >= size)
		return 0;
	uint8_t *at = reply_bytes_space();
	size_t sent = size - offset < length ? (size_t)(size - offset) : (size_t)length;
	wire_put_bytes(at, content + offset, sent);
	reply_bytes(sent);
	return 0;
}

int files_read(struct wire_reader *request)
{
	uint64_t offset = wire_take_u64(request), length = wire_take_u64(request);
	const char *path;
	struct stat status;
	int error = take_path(request, &path);
	if (error)
		return error;
	int fd = open_regular(path, &status);
	if (fd < 0)
		return -fd;
	if (!status.st_size)
		return read_sizeless(fd, &status, offset, length);

	reply_info(&status, "", "");
	reply_flush();
	uint64_t size = (uint64_t)status.st_size;
	if (offset >= size)
		return 0;
	if (length > size - offset)
		length = size - offset;
	if (lseek(fd, (off_t)offset, SEEK_SET) < 0)
		return errno;
	posix_fadvise(fd, (off_t)offset, (off_t)length, POSIX_FADV_SEQUENTIAL);
	int64_t sent = send_file(fd, length);
	if (sent < 0)
		return (int)-sent;
	if ((uint64_t)sent == length)
		return 0;
	reply_detail("the file became shorter while it was read");
	return EIO;
}
