// Listing: an INFO record for each entry, as the directory has them. One more than the limit says that there are more.
#define _GNU_SOURCE
#include "agent-files-reply.h"
#include "agent-files-path.h"
#include "agent-files-tree.h"
#include "agent-files-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct listing {
	uint32_t depth, limit, count;
};

enum { ENOUGH = ECANCELED }; // not an error: ends the walk

static int list_entry(void *context, const struct tree_entry *entry)
{
	struct listing *listing = context;
	char target[PATH_MAX] = "";
	if (S_ISLNK(entry->status.st_mode)) {
		ssize_t length = readlinkat(entry->directory, entry->name, target, sizeof target - 1);
		target[length > 0 ? length : 0] = 0;
	}
	reply_info(&entry->status, entry->path, target);
	if (listing->count++ == listing->limit)
		return ENOUGH;
	return (uint32_t)entry->depth < listing->depth ? 0 : TREE_LEAVE_OUT;
}

int files_list(struct wire_reader *request)
{
	struct listing listing = {.depth = wire_take_u32(request), .limit = wire_take_u32(request)};
	const char *path;
	int error = take_path(request, &path);
	if (error)
		return error;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno;
	error = tree_walk(fd, list_entry, &listing);
	return error == ENOUGH ? 0 : error;
}
