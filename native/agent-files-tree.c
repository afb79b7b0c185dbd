// The walk. One path buffer for all levels: each level writes behind its directory's part.
#define _GNU_SOURCE
#include "agent-files-tree.h"

#include "agent-files-reply.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct walk {
	tree_visitor *visit;
	void *context;
	char path[TREE_MAX_PATH_BYTES + 1];
};

static int walk_directory(struct walk *walk, int directory, size_t length, int depth);

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int enter(struct walk *walk, const struct tree_entry *entry, size_t length)
{
	if (entry->depth == TREE_MAX_DEPTH)
		return ENAMETOOLONG;
	int fd = openat(entry->directory, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : errno;
	return walk_directory(walk, fd, length, entry->depth + 1);
}

static int visit_entry(struct walk *walk, struct tree_entry *entry, size_t length)
{
	size_t slash = length ? 1 : 0, name_length = strlen(entry->name);
	if (length + slash + name_length > TREE_MAX_PATH_BYTES)
		return ENAMETOOLONG;
	if (slash)
		walk->path[length] = '/';
	strcpy(walk->path + length + slash, entry->name);
	if (fstatat(entry->directory, entry->name, &entry->status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : errno;
	int result = walk->visit(walk->context, entry);
	if (result == TREE_LEAVE_OUT)
		return 0;
	if (!result && S_ISDIR(entry->status.st_mode))
		result = enter(walk, entry, length + slash + name_length);
	return result;
}

static int walk_directory(struct walk *walk, int directory, size_t length, int depth)
{
	DIR *stream = fdopendir(directory);
	if (!stream) {
		int error = errno;
		close(directory);
		return error;
	}
	int error = 0;
	const struct dirent *found;
	while (!error && (errno = 0, found = readdir(stream))) {
		if (is_dot(found->d_name))
			continue;
		struct tree_entry entry = {
			.directory = directory, .name = found->d_name, .path = walk->path, .depth = depth};
		error = visit_entry(walk, &entry, length);
	}
	if (!found && errno)
		error = errno;
	closedir(stream);
	return error;
}

int tree_walk(int directory, tree_visitor *visit, void *context)
{
	struct walk walk = {.visit = visit, .context = context};
	int error = walk_directory(&walk, directory, 0, 1);
	if (error)
		reply_detail("%s", walk.path);
	return error;
}
