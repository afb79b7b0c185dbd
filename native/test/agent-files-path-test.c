// Splitting and cleaning of paths, and what is opened beneath a directory while links point elsewhere.
#include "agent-files-path.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check_split(const char *path, const char *directory, const char *name)
{
	char got_directory[PATH_MAX], got_name[NAME_MAX + 1];
	assert(path_split(path, got_directory, got_name) == 0);
	assert(strcmp(got_directory, directory) == 0 && strcmp(got_name, name) == 0);
}

static int split_error(const char *path)
{
	char directory[PATH_MAX], name[NAME_MAX + 1];
	return path_split(path, directory, name);
}

static void paths_are_split_at_their_last_name(void)
{
	check_split("/a/b", "/a/", "b");
	check_split("/a/b//", "/a/", "b");
	check_split("/a", "/", "a");
	check_split("a", ".", "a");
	check_split("/a/../b", "/a/../", "b");
	check_split("...", ".", "...");
	static const char *const nameless[] = {"", "/", "//", ".", "..", "/a/.", "/a/..", "/a/../"};
	for (size_t i = 0; i < sizeof nameless / sizeof *nameless; i++)
		assert(split_error(nameless[i]) == EINVAL);
	char *long_name = malloc(NAME_MAX + 2);
	memset(long_name, 'n', NAME_MAX + 1);
	long_name[NAME_MAX + 1] = 0;
	assert(split_error(long_name) == ENAMETOOLONG);
	long_name[NAME_MAX] = 0;
	assert(split_error(long_name) == 0);
	free(long_name);
}

static void check_clean(const char *path, const char *expected)
{
	char clean[PATH_MAX];
	assert(beneath_clean(path, clean) == 0 && strcmp(clean, expected) == 0);
}

static void names_of_archives_are_cleaned(void)
{
	char clean[PATH_MAX];
	check_clean("./a/./b/", "a/b");
	check_clean("//etc//passwd", "etc/passwd");
	check_clean("./", "");
	check_clean("", "");
	check_clean("..a/b..", "..a/b..");
	static const char *const leading_outside[] = {"..", "a/..", "../a", "a/../b", "/.."};
	for (size_t i = 0; i < sizeof leading_outside / sizeof *leading_outside; i++)
		assert(beneath_clean(leading_outside[i], clean) == EINVAL);
	char *deep = malloc(2 * PATH_MAX + 1);
	for (size_t i = 0; i < 2 * PATH_MAX; i += 2)
		memcpy(deep + i, "a/", 3);
	assert(beneath_clean(deep, clean) == ENAMETOOLONG);
	free(deep);
}

static void nothing_is_opened_or_made_outside(void)
{
	char directory[] = "/tmp/shale-path-XXXXXX";
	assert(mkdtemp(directory));
	int top = open(directory, O_PATH | O_DIRECTORY);
	assert(mkdirat(top, "inside", 0755) == 0 && mkdirat(top, "outside", 0755) == 0);
	int root = openat(top, "inside", O_PATH | O_DIRECTORY);
	assert(symlinkat("../outside", root, "up") == 0 && symlinkat("/tmp", root, "away") == 0);
	assert(mkdirat(root, "real", 0755) == 0 && symlinkat("real", root, "within") == 0);

	struct place place;
	assert(beneath_place(root, "up/file", &place) == EXDEV);
	assert(beneath_place(root, "up/new/file", &place) == EXDEV);
	assert(beneath_place(root, "away/file", &place) == EXDEV);
	assert(beneath_open(root, "..", O_PATH) < 0 && errno == EXDEV);
	assert(beneath_open(root, "/", O_PATH) < 0 && errno == EXDEV);
	assert(faccessat(top, "outside/new", F_OK, 0) < 0);

	assert(beneath_place(root, "within/a/b/file", &place) == 0 && strcmp(place.name, "file") == 0);
	assert(faccessat(root, "real/a/b", F_OK, 0) == 0);
	place_close(&place);
	assert(unlinkat(root, "real/a/b", AT_REMOVEDIR) == 0 && unlinkat(root, "real/a", AT_REMOVEDIR) == 0);
	assert(unlinkat(root, "real", AT_REMOVEDIR) == 0 && unlinkat(root, "within", 0) == 0);
	assert(unlinkat(root, "up", 0) == 0 && unlinkat(root, "away", 0) == 0);
	assert(unlinkat(top, "inside", AT_REMOVEDIR) == 0 && unlinkat(top, "outside", AT_REMOVEDIR) == 0);
	close(root);
	close(top);
	rmdir(directory);
}

int main(void)
{
	paths_are_split_at_their_last_name();
	names_of_archives_are_cleaned();
	nothing_is_opened_or_made_outside();
	puts("agent-files-path: ok");
}
