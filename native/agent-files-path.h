// Where names lead. The kernel resolves all paths; what is done to a name is done in the directory that was opened for it.
#pragma once

#include "wire.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

// A name in an open directory. The name is not resolved: it may be a symlink, or nothing.
struct place {
	int directory; // O_PATH
	char name[NAME_MAX + 1];
};

// Splits "a/b/" into "a" and "b"; a path without a directory has ".". Errno: EINVAL when the last name is no name ("",
// "/", ".", ".."), ENAMETOOLONG.
int path_split(const char *path, char directory[PATH_MAX], char name[NAME_MAX + 1]);

// Opens the directory that the path's last name is in, relative to `base` (AT_FDCWD for absolute paths). With
// `makes_parents`, missing directories are made first, mode 0755.
int place_open(int base, const char *path, bool makes_parents, struct place *place);
int place_stat(const struct place *place, struct stat *status); // the name itself, not what a symlink points to
void place_close(struct place *place);

// Follows the place while it is a symlink, as open(2) with O_CREAT would, at most 40 times (ELOOP).
int place_follow(struct place *place);

// ---- beneath a directory ----

// Cleans a name of an archive: no leading or double slashes, no ".". Empty for the directory itself. EINVAL for a name
// with "..", which would lead outside or mean something else than it says.
int beneath_clean(const char *path, char clean[PATH_MAX]);

// Opens `path` beneath `root`: symlinks are followed as long as they stay beneath it, magic links never (openat2(2)
// RESOLVE_BENEATH). EXDEV for what leads outside.
int beneath_open(int root, const char *path, int flags);

// The place of a cleaned path that is not empty; missing directories are made.
int beneath_place(int root, const char *path, struct place *place);

// A name of 64 random bits that nobody can guess and nothing has: ".shale-0123456789abcdef".
enum { FRESH_NAME_BYTES = 24 };
void fresh_name(char name[FRESH_NAME_BYTES]);

// rename(2) of one name to another; EEXIST instead of replacing unless it `overwrites`. Errno, or 0.
int rename_name(int from, const char *from_name, int to, const char *to_name, bool overwrites);

// The INFO record of what the path, or the place, is; symlinks are not followed.
int place_reply(const struct place *place);

// Takes the fields that are left: one path, absolute. EPROTO when it is not that.
int take_path(struct wire_reader *request, const char **path);
