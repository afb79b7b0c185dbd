// Removing, by descriptors: a directory is entered only as the directory that it is, never through a symlink, so whoever
// swaps one for the other meanwhile loses a link and nothing of what it points to.
//
// A tree may be deeper than there are descriptors. What is at the deepest level that is entered is moved up to the top,
// where the walk meets it again: each directory is entered once, at whatever depth it was.
#define _GNU_SOURCE
#include "agent-files-path.h"
#include "agent-files-reply.h"
#include "agent-files-tree.h"
#include "agent-files-worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

// Of looking at a directory again because there is still something in it: what was moved up, or what another program
// makes as fast as it is removed.
enum { MAX_ROUNDS = 10000 };

struct removal {
	int top; // where deep directories are moved to
	dev_t device;
};

static int remove_entry(const struct removal *removal, int directory, const char *name, int depth);

static int remove_entries(const struct removal *removal, DIR *stream, int depth)
{
	const struct dirent *found;
	while ((errno = 0, found = readdir(stream))) {
		const char *name = found->d_name;
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		int error = remove_entry(removal, dirfd(stream), name, depth);
		if (error)
			return error;
	}
	return errno;
}

static int move_up(const struct removal *removal, int directory, const char *name)
{
	char moved[FRESH_NAME_BYTES];
	fresh_name(moved);
	int error = rename_name(directory, name, removal->top, moved, false);
	return error == ENOENT ? 0 : error;
}

// Empties the directory and removes it. `top` is its own descriptor when it is the one that was asked for.
static int remove_directory(struct removal removal, int directory, const char *name, int depth)
{
	if (depth > TREE_MAX_DEPTH)
		return move_up(&removal, directory, name);
	int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	if (!stream || fstat(fd, &status) < 0)
		return errno == ENOTDIR || errno == ELOOP ? EAGAIN : errno;
	if (depth == 1)
		removal = (struct removal){.top = fd, .device = status.st_dev};
	// Another file system is not part of what was asked for, and its mount point could not be removed anyway.
	int error = status.st_dev == removal.device ? 0 : EBUSY;
	bool is_gone = false;
	for (int round = 0; !error && !is_gone && round < MAX_ROUNDS; round++) {
		error = remove_entries(&removal, stream, depth + 1);
		if (error)
			break;
		is_gone = unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
		if (is_gone)
			break;
		if (errno != ENOTEMPTY && errno != EEXIST)
			error = errno == ENOTDIR ? EAGAIN : errno;
		else if (!reply_is_awaited())
			error = ECANCELED;
		rewinddir(stream);
	}
	if (!error && !is_gone)
		error = ENOTEMPTY;
	closedir(stream);
	return error;
}

static int remove_entry(const struct removal *removal, int directory, const char *name, int depth)
{
	// EAGAIN: it is something else than it was a moment ago.
	for (int round = 0; round < 64; round++) {
		if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
			return 0;
		int error = errno == EISDIR ? remove_directory(*removal, directory, name, depth) : errno;
		if (error == EAGAIN)
			continue;
		if (error)
			reply_detail("%s", name);
		return error == ENOENT ? 0 : error;
	}
	return EAGAIN;
}

int files_remove(struct wire_reader *request)
{
	bool is_recursive = wire_take_u8(request);
	const char *path;
	struct place place;
	int error = take_path(request, &path);
	if (error)
		return error;
	error = place_open(AT_FDCWD, path, false, &place);
	if (error)
		return error == EINVAL ? EBUSY : error; // "/", "..", as rmdir(2)
	if (unlinkat(place.directory, place.name, 0) == 0)
		return 0;
	if (errno != EISDIR)
		return errno;
	if (unlinkat(place.directory, place.name, AT_REMOVEDIR) == 0)
		return 0;
	if ((errno != ENOTEMPTY && errno != EEXIST) || !is_recursive)
		return errno;
	return remove_entry(&(struct removal){0}, place.directory, place.name, 1);
}
