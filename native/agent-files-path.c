// Resolving paths to places.
#define _GNU_SOURCE
#include "agent-files-path.h"

#include "agent-files-reply.h"
#include "agent-files-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	MAX_LINKS = 40, // as the kernel's
	RETRIES = 64,	// of a look-up that met a rename
	PARENT_MODE = 0755,
};

int path_split(const char *path, char directory[PATH_MAX], char name[NAME_MAX + 1])
{
	size_t end = strlen(path);
	while (end && path[end - 1] == '/')
		end--;
	size_t start = end;
	while (start && path[start - 1] != '/')
		start--;
	size_t name_length = end - start;
	if (name_length > NAME_MAX || start >= PATH_MAX)
		return ENAMETOOLONG;
	memcpy(name, path + start, name_length);
	name[name_length] = 0;
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return EINVAL;
	memcpy(directory, path, start);
	directory[start] = 0;
	if (!start)
		strcpy(directory, ".");
	return 0;
}

// mkdir -p; what exists is left as it is.
static int make_directories(int base, char *path)
{
	for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
		*slash = 0;
		int result = mkdirat(base, path, PARENT_MODE);
		*slash = '/';
		if (result < 0 && errno != EEXIST)
			return errno;
	}
	return mkdirat(base, path, PARENT_MODE) < 0 && errno != EEXIST ? errno : 0;
}

int place_open(int base, const char *path, bool makes_parents, struct place *place)
{
	char directory[PATH_MAX];
	int error = path_split(path, directory, place->name);
	if (error)
		return error;
	const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
	place->directory = openat(base, directory, flags);
	if (place->directory < 0 && errno == ENOENT && makes_parents) {
		error = make_directories(base, directory);
		if (error)
			return error;
		place->directory = openat(base, directory, flags);
	}
	return place->directory < 0 ? errno : 0;
}

int place_stat(const struct place *place, struct stat *status)
{
	return fstatat(place->directory, place->name, status, AT_SYMLINK_NOFOLLOW) < 0 ? errno : 0;
}

void place_close(struct place *place)
{
	close(place->directory);
	place->directory = -1;
}

int place_follow(struct place *place)
{
	for (int links = 0; links < MAX_LINKS; links++) {
		char target[PATH_MAX];
		ssize_t length = readlinkat(place->directory, place->name, target, sizeof target - 1);
		if (length < 0)
			return errno == EINVAL || errno == ENOENT ? 0 : errno;
		target[length] = 0;
		struct place next;
		int error = place_open(place->directory, target, false, &next);
		if (error)
			return error == EINVAL ? EISDIR : error; // "/", ".." and the like
		place_close(place);
		*place = next;
	}
	return ELOOP;
}

// ---- beneath a directory -------------------------------------------------------------------------------------------

int beneath_clean(const char *path, char clean[PATH_MAX])
{
	size_t length = 0;
	while (*path) {
		size_t part = strcspn(path, "/");
		bool is_dot = part == 1 && path[0] == '.';
		if (part == 2 && path[0] == '.' && path[1] == '.')
			return EINVAL;
		if (part > NAME_MAX || length + part + 2 > PATH_MAX)
			return ENAMETOOLONG;
		if (part && !is_dot) {
			if (length)
				clean[length++] = '/';
			memcpy(clean + length, path, part);
			length += part;
		}
		path += part;
		path += strspn(path, "/");
	}
	clean[length] = 0;
	return 0;
}

int beneath_open(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	// EAGAIN: something on the way was renamed meanwhile, so the kernel cannot vouch for the result.
	for (int i = 0; i < RETRIES; i++) {
		long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
		if (fd >= 0 || errno != EAGAIN)
			return (int)fd;
	}
	return -1;
}

// Opens the directory of the first `length` bytes of `path`, making the last name of it when it is missing.
static int open_or_make(int root, int above, char *path, size_t length)
{
	char rest = path[length];
	path[length] = 0;
	int fd = beneath_open(root, path, O_PATH | O_DIRECTORY);
	if (fd < 0 && errno == ENOENT) {
		const char *slash = strrchr(path, '/');
		if (mkdirat(above, slash ? slash + 1 : path, PARENT_MODE) == 0 || errno == EEXIST)
			fd = beneath_open(root, path, O_PATH | O_DIRECTORY);
	}
	path[length] = rest;
	return fd;
}

static int open_directories(int root, char *path)
{
	int above = fcntl(root, F_DUPFD_CLOEXEC, 0);
	for (size_t end = 0; above >= 0 && path[end];) {
		end += path[end] == '/';
		end += strcspn(path + end, "/");
		int fd = open_or_make(root, above, path, end);
		int error = errno;
		close(above);
		errno = error;
		above = fd;
	}
	return above;
}

int beneath_place(int root, const char *path, struct place *place)
{
	char directory[PATH_MAX];
	int error = path_split(path, directory, place->name);
	if (error)
		return error;
	place->directory = beneath_open(root, directory, O_PATH | O_DIRECTORY);
	if (place->directory < 0 && errno == ENOENT)
		place->directory = open_directories(root, directory);
	return place->directory < 0 ? errno : 0;
}

void fresh_name(char name[FRESH_NAME_BYTES])
{
	uint64_t random;
	while (getrandom(&random, sizeof random, 0) != sizeof random)
		continue;
	snprintf(name, FRESH_NAME_BYTES, ".shale-%016llx", (unsigned long long)random);
}

int rename_name(int from, const char *from_name, int to, const char *to_name, bool overwrites)
{
	unsigned flags = overwrites ? 0 : RENAME_NOREPLACE;
	return syscall(SYS_renameat2, from, from_name, to, to_name, flags) < 0 ? errno : 0; // not in every libc
}

// ---- what operations begin and end with ----------------------------------------------------------------------------

int place_reply(const struct place *place)
{
	struct stat status;
	char target[PATH_MAX] = "";
	int error = place_stat(place, &status);
	if (error)
		return error;
	if (S_ISLNK(status.st_mode)) {
		ssize_t length = readlinkat(place->directory, place->name, target, sizeof target - 1);
		target[length > 0 ? length : 0] = 0;
	}
	reply_info(&status, "", target);
	return 0;
}

int take_path(struct wire_reader *request, const char **path)
{
	*path = wire_take_text(request, FILES_MAX_PATH_BYTES);
	return wire_is_complete(request) && **path == '/' ? 0 : EPROTO;
}
