// Watching a file or a directory, with what is below it on request, by inotify(7). An INFO record says that the watching
// has begun; then come EVENT records, until the client closes the tunnel or what is watched is gone.
//
// What is made in a new directory before it is watched is told as created, perhaps twice. When the kernel's queue has
// overflowed, or there are more directories than may be watched, an OVERFLOW event says that not everything is told.
#define _GNU_SOURCE
#include "agent-files-path.h"
#include "agent-files-reply.h"
#include "agent-files-tree.h"
#include "agent-files-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

enum event {
	EVENT_CREATED = 1,
	EVENT_MODIFIED,
	EVENT_REMOVED,
	EVENT_MOVED_FROM,
	EVENT_MOVED_TO,
	EVENT_OVERFLOW,
};

enum {
	MAX_WATCHES = 8192,
	QUEUE_BYTES = 64 * 1024,
	EVENTS = IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
		 IN_MOVE_SELF,
};

// Watch descriptors are numbered from 1 and not used again, so the newest are at the end.
struct watched {
	int descriptor;
	char *path; // from the root; "" is the root itself
};

static struct {
	int inotify;
	const char *root; // not a descriptor: an open file is not told to be gone
	bool is_directory, is_recursive, is_over;
	struct watched watched[MAX_WATCHES];
	uint32_t count;
} state;

static struct watched *find_watched(int descriptor)
{
	for (uint32_t low = 0, high = state.count; low < high;) {
		uint32_t middle = low + (high - low) / 2;
		if (state.watched[middle].descriptor == descriptor)
			return &state.watched[middle];
		if (state.watched[middle].descriptor < descriptor)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static void forget(struct watched *watched)
{
	free(watched->path);
	state.count--;
	memmove(watched, watched + 1, (size_t)(state.watched + state.count - watched) * sizeof *watched);
}

// Watches the open directory, or file. Errno.
static int watch_descriptor(int fd, const char *path)
{
	char name[32];
	if (state.count == MAX_WATCHES)
		return ENOSPC;
	// By the descriptor: a path might lead elsewhere by now.
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	int descriptor = inotify_add_watch(state.inotify, name, EVENTS);
	if (descriptor < 0)
		return errno;
	if (find_watched(descriptor))
		return 0; // a directory that was met twice
	char *copy = strdup(path);
	if (!copy)
		return ENOMEM;
	state.watched[state.count++] = (struct watched){.descriptor = descriptor, .path = copy};
	return 0;
}

static void join(char path[PATH_MAX], const char *directory, const char *name)
{
	snprintf(path, PATH_MAX, "%s%s%s", directory, *directory && *name ? "/" : "", name);
}

// ---- directories below ---------------------------------------------------------------------------------------------

struct addition {
	const char *base; // from the root to where the walk began
	bool tells; // what is found is told as created
};

static int add_below(void *context, const struct tree_entry *entry)
{
	const struct addition *addition = context;
	char path[PATH_MAX];
	bool is_directory = S_ISDIR(entry->status.st_mode);
	join(path, addition->base, entry->path);
	if (addition->tells)
		reply_event(EVENT_CREATED, is_directory, path);
	if (!is_directory)
		return 0;
	int fd = openat(entry->directory, entry->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0;
	int error = watch_descriptor(fd, path);
	close(fd);
	return error == EACCES || error == ENOENT ? TREE_LEAVE_OUT : error;
}

static void tell_overflow(void)
{
	reply_event(EVENT_OVERFLOW, true, "");
}

// False when not all directories can be watched. That makes an overflow, not an end: what is watched goes on.
static bool watch_below(int directory, struct addition addition)
{
	return directory < 0 || tree_walk(directory, add_below, &addition) == 0;
}

static void watch_new_directory(const char *path)
{
	int root = open(state.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = beneath_open(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
	close(root);
	if (fd < 0)
		return; // gone again, or not for this user
	int error = watch_descriptor(fd, path);
	bool is_whole = watch_below(fd, (struct addition){.base = path, .tells = true});
	if (!is_whole || error == ENOSPC || error == ENOMEM)
		tell_overflow();
}

// What has moved away is told about under a path that it no longer has, so it is not watched any more.
static void unwatch(const char *path)
{
	size_t length = strlen(path);
	for (uint32_t i = state.count; i-- > 0;) {
		struct watched *watched = &state.watched[i];
		if (strncmp(watched->path, path, length) != 0 || (watched->path[length] && watched->path[length] != '/'))
			continue;
		inotify_rm_watch(state.inotify, watched->descriptor);
		forget(watched);
	}
}

// ---- events --------------------------------------------------------------------------------------------------------

static enum event to_event(uint32_t mask)
{
	return mask & IN_CREATE	      ? EVENT_CREATED
	       : mask & IN_DELETE     ? EVENT_REMOVED
	       : mask & IN_MOVED_FROM ? EVENT_MOVED_FROM
	       : mask & IN_MOVED_TO   ? EVENT_MOVED_TO
				      : EVENT_MODIFIED;
}

// About a watched thing itself. Of directories below the one above tells the same.
static void handle_own(const struct watched *watched, uint32_t mask)
{
	if (*watched->path)
		return;
	if (mask & (IN_DELETE_SELF | IN_MOVE_SELF)) {
		reply_event(mask & IN_MOVE_SELF ? EVENT_MOVED_FROM : EVENT_REMOVED, state.is_directory, "");
		state.is_over = true;
	} else if (mask & (IN_MODIFY | IN_ATTRIB)) {
		reply_event(EVENT_MODIFIED, state.is_directory, "");
	}
}

static void handle_event(const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW) {
		tell_overflow();
		return;
	}
	struct watched *watched = find_watched(event->wd);
	if (!watched)
		return;
	if (event->mask & IN_IGNORED) {
		state.is_over |= !*watched->path;
		forget(watched);
		return;
	}
	if (!event->len) {
		handle_own(watched, event->mask);
		return;
	}
	char path[PATH_MAX];
	bool is_directory = event->mask & IN_ISDIR;
	join(path, watched->path, event->name);
	reply_event((uint8_t)to_event(event->mask), is_directory, path);
	if (!state.is_recursive || !is_directory)
		return;
	if (event->mask & (IN_MOVED_FROM | IN_DELETE))
		unwatch(path);
	if (event->mask & (IN_CREATE | IN_MOVED_TO))
		watch_new_directory(path);
}

static void handle_events(void)
{
	static _Alignas(struct inotify_event) char queue[QUEUE_BYTES];
	ssize_t length = read(state.inotify, queue, sizeof queue);
	for (ssize_t at = 0; at < length && !state.is_over;) {
		const struct inotify_event *event = (const struct inotify_event *)(queue + at);
		handle_event(event);
		at += (ssize_t)(sizeof *event + event->len);
	}
	reply_flush();
}

static int watch_root(const char *path)
{
	struct stat status;
	state.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	state.root = path;
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (state.inotify < 0 || fd < 0 || fstat(fd, &status) < 0)
		return errno;
	int error = watch_descriptor(fd, "");
	close(fd);
	if (error)
		return error;
	bool is_whole = true;
	state.is_directory = S_ISDIR(status.st_mode);
	if (state.is_recursive && state.is_directory)
		is_whole = watch_below(open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC),
				       (struct addition){.base = ""});
	reply_info(&status, "", "");
	if (!is_whole)
		tell_overflow();
	reply_flush();
	return 0;
}

int files_watch(struct wire_reader *request)
{
	state.is_recursive = wire_take_u8(request);
	const char *path;
	int error = take_path(request, &path);
	if (!error)
		error = watch_root(path);
	if (error)
		return error;
	// The tunnel is only looked at for its end: POLLHUP is told without being asked for.
	struct pollfd waits[2] = {{.fd = state.inotify, .events = POLLIN}, {.fd = 0}};
	while (!state.is_over) {
		if (poll(waits, 2, -1) < 0 && errno != EINTR)
			return errno;
		if (waits[1].revents)
			break;
		if (waits[0].revents)
			handle_events();
	}
	return 0;
}
