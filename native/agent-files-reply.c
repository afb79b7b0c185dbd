// Records out, data in, over descriptor 0.
#define _GNU_SOURCE
#include "agent-files-reply.h"

#include "agent-files-worker.h"
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	TUNNEL_FD = 0,
	HEAD_BYTES = 1 + 4,
	MAX_RECORD_BYTES = HEAD_BYTES + 1 + 3 * 4 + 2 * 8 + 4 + 2 * (4 + FILES_MAX_PATH_BYTES),
	BUFFER_BYTES = HEAD_BYTES + REPLY_BYTES_ROOM,
	MAX_DETAIL_BYTES = 512,
};

static uint8_t buffer[BUFFER_BYTES];
static size_t used;
static uint64_t result_count;
static char detail[MAX_DETAIL_BYTES];

void reply_flush(void)
{
	for (size_t sent = 0; sent < used;) {
		ssize_t count = send(TUNNEL_FD, buffer + sent, used - sent, MSG_NOSIGNAL);
		if (count < 0 && errno != EINTR)
			_exit(1);
		sent += count > 0 ? (size_t)count : 0;
	}
	used = 0;
}

// Room for one record, and its head, whose length is filled in by finish.
static uint8_t *begin(enum reply_type type)
{
	if (BUFFER_BYTES - used < MAX_RECORD_BYTES)
		reply_flush();
	return wire_put_u8(buffer + used, (uint8_t)type) + 4;
}

static void finish(const uint8_t *end)
{
	size_t length = (size_t)(end - buffer) - used - HEAD_BYTES;
	wire_put_u32(buffer + used + 1, (uint32_t)length);
	used += HEAD_BYTES + length;
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
	return wire_put_word(at, text, (uint32_t)strnlen(text, FILES_MAX_PATH_BYTES));
}

static uint8_t to_file_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return FILE_DIRECTORY;
	case S_IFLNK:
		return FILE_SYMLINK;
	case S_IFIFO:
		return FILE_FIFO;
	case S_IFSOCK:
		return FILE_SOCKET;
	case S_IFBLK:
		return FILE_BLOCK;
	case S_IFCHR:
		return FILE_CHARACTER;
	default:
		return FILE_REGULAR;
	}
}

void reply_info(const struct stat *status, const char *path, const char *target)
{
	uint8_t *at = wire_put_u8(begin(REPLY_INFO), to_file_type(status->st_mode));
	at = wire_put_u32(at, status->st_mode & 07777);
	at = wire_put_u32(wire_put_u32(at, status->st_uid), status->st_gid);
	at = wire_put_u64(at, (uint64_t)status->st_size);
	at = wire_put_u64(at, (uint64_t)status->st_mtim.tv_sec);
	at = wire_put_u32(at, (uint32_t)status->st_mtim.tv_nsec);
	finish(put_text(put_text(at, path), target));
}

void reply_event(uint8_t event, bool is_directory, const char *path)
{
	finish(put_text(wire_put_u8(wire_put_u8(begin(REPLY_EVENT), event), is_directory), path));
}

uint8_t *reply_bytes_space(void)
{
	reply_flush();
	return buffer + HEAD_BYTES;
}

void reply_bytes(size_t length)
{
	if (!length)
		return;
	begin(REPLY_BYTES);
	finish(buffer + used + HEAD_BYTES + length);
	reply_flush();
}

void reply_count(uint64_t count)
{
	result_count = count;
}

void reply_detail(const char *format, ...)
{
	va_list arguments;
	if (*detail)
		return;
	va_start(arguments, format);
	vsnprintf(detail, sizeof detail, format, arguments);
	va_end(arguments);
}

void reply_result(int error, enum reply_subject subject)
{
	uint8_t *at = wire_put_u32(begin(REPLY_RESULT), (uint32_t)error);
	at = wire_put_u64(wire_put_u8(at, (uint8_t)subject), result_count);
	finish(put_text(at, error ? detail : ""));
	reply_flush();
}

bool reply_is_awaited(void)
{
	// A tunnel that is over is closed both ways. The end of the client's data closes one.
	struct pollfd tunnel = {.fd = TUNNEL_FD};
	return poll(&tunnel, 1, 0) >= 0 && !(tunnel.revents & (POLLHUP | POLLERR));
}

ssize_t data_read(void *bytes, size_t size)
{
	ssize_t count;
	do
		count = recv(TUNNEL_FD, bytes, size, 0);
	while (count < 0 && errno == EINTR);
	return count;
}

bool data_read_all(void *bytes, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t count = data_read((uint8_t *)bytes + at, size - at);
		if (count <= 0)
			return false;
		at += (size_t)count;
	}
	return true;
}
