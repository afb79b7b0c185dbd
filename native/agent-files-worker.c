// What every operation has in common: the request, the user, the result.
#define _GNU_SOURCE
#include "agent-files-worker.h"

#include "agent-files-reply.h"
#include "agent-files.h"
#include "agent-users.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	MAX_USER_BYTES = 255,
	// Of address space: more than any operation needs, and less than a program that was led astray would like.
	MAX_MEMORY_BYTES = 256 * 1024 * 1024,
};

static int (*const operations[])(struct wire_reader *request) = {
	[1] = files_stat,	  [2] = files_list,	    [3] = files_read,	[4] = files_write,
	[5] = files_make_directory, [6] = files_rename,	    [7] = files_remove, [8] = files_set_attributes,
	[9] = files_archive,	  [10] = files_extract, [11] = files_watch,
};

int write_all(int fd, const uint8_t *bytes, size_t length)
{
	while (length) {
		ssize_t count = write(fd, bytes, length);
		if (count < 0 && errno != EINTR)
			return errno;
		bytes += count > 0 ? count : 0;
		length -= count > 0 ? (size_t)count : 0;
	}
	return 0;
}

static bool read_request(struct wire_reader *request)
{
	static uint8_t bytes[FILES_MAX_REQUEST_BYTES];
	uint8_t head[4];
	if (!data_read_all(head, sizeof head))
		return false;
	struct wire_reader reader = wire_read(head, sizeof head);
	uint32_t length = wire_take_u32(&reader);
	if (length > sizeof bytes || !data_read_all(bytes, length))
		return false;
	*request = wire_read(bytes, length);
	return true;
}

static void limit_memory(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur < MAX_MEMORY_BYTES)
		return;
	limit.rlim_cur = MAX_MEMORY_BYTES;
	setrlimit(RLIMIT_AS, &limit);
}

// For good: what was root keeps no capability when it becomes somebody else.
static int become(const char *name)
{
	struct user user;
	int error = user_lookup(name, "/etc/passwd", "/etc/group", &user);
	if (error || user.is_agent)
		return error;
	if (setgroups(user.group_count, user.groups) < 0 || setresgid(user.gid, user.gid, user.gid) < 0 ||
	    setresuid(user.uid, user.uid, user.uid) < 0)
		return errno;
	return 0;
}

static int run(uint8_t operation, struct wire_reader *request)
{
	if (!operation || operation >= sizeof operations / sizeof *operations)
		return EPROTO;
	return operations[operation](request);
}

int files_worker_main(void)
{
	struct wire_reader request;
	signal(SIGPIPE, SIG_IGN);
	umask(0); // modes are the client's
	prctl(PR_SET_NAME, "shale-files");
	limit_memory();
	if (!read_request(&request))
		return 1;
	const char *user = wire_take_text(&request, MAX_USER_BYTES);
	uint8_t operation = wire_take_u8(&request);
	int error = request.bad ? EPROTO : become(user);
	if (error)
		reply_result(error, RESULT_OF_USER);
	else
		reply_result(run(operation, &request), RESULT_OF_OPERATION);
	return 0;
}
