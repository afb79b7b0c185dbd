/* The rules of the jailer that can be tested without privileges: where paths may point, what flags mean. */
#include "jailer.h"
#include "jailer-kernel.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void a_path_is_below_a_base_only_by_whole_components(void)
{
	assert(strcmp(path_below("/a/b", "/a"), "b") == 0);
	assert(strcmp(path_below("/a//b/c", "/a"), "b/c") == 0);
	assert(path_below("/ab", "/a") == NULL);
	assert(path_below("/a", "/a") == NULL && path_below("/a/", "/a") == NULL);
	assert(path_below("a/b", "/a") == NULL);
}

static void mount_flags_are_a_closed_set(void)
{
	uint64_t attributes;
	assert(parse_mount_flags("", &attributes) && attributes == 0);
	assert(parse_mount_flags("nosuid,ro", &attributes) && attributes == (MOUNT_ATTR_NOSUID | MOUNT_ATTR_RDONLY));
	assert(!parse_mount_flags("suid", &attributes) && !parse_mount_flags("nosuid,,ro", &attributes));
	assert(!parse_mount_flags("bind", &attributes) && !parse_mount_flags(" ro", &attributes));
}

static int spot_in(const struct jailer *jailer, const char *path)
{
	struct spot spot;
	int error = allowed_spot(jailer, path, &spot);
	if (error == 0)
		close(spot.dir_fd);
	return error;
}

static void allowed_paths_cannot_be_left(void)
{
	char directory[] = "/tmp/jailer-rules-XXXXXX", path[128];
	assert(mkdtemp(directory) != NULL);
	struct jailer jailer = {.allowed_count = 1};
	jailer.allowed[0].path = directory;
	jailer.allowed[0].fd = open(directory, O_PATH | O_DIRECTORY);
	assert(mkdirat(jailer.allowed[0].fd, "in", 0700) == 0);
	assert(symlinkat("/etc", jailer.allowed[0].fd, "out") == 0);
	static const struct {
		const char *name;
		int error;
	} cases[] = {
		{"x", 0},	     {"in/x", 0},	   {"in/../x", 0},	  {"in/../../x", -EXDEV},
		{"out/passwd", -ELOOP}, {"missing/x", -ENOENT}, {"in/..", -EINVAL}, {"in/.", -EINVAL},
		{"in/", -EINVAL},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(path, sizeof path, "%s/%s", directory, cases[i].name);
		assert(spot_in(&jailer, path) == cases[i].error);
	}
	assert(spot_in(&jailer, "/etc/passwd") == -EXDEV);
	close(jailer.allowed[0].fd);
	snprintf(path, sizeof path, "rm -r %s", directory);
	assert(system(path) == 0);
}

static bool parses(const char *line)
{
	char copy[256], *argv[32], *save = NULL;
	struct options options;
	int argc = 0;
	strcpy(copy, line);
	for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	return parse_options(argc, argv, &options);
}

#define BOUNDS " --ids 65536-131071 --cgroup /c"
static void an_owner_without_bounds_is_refused(void)
{
	assert(parses("") && parses("--allow /a --allow /b --agent x --cgroup /c"));
	assert(!parses("--allow") && !parses("--allow a") && !parses("--unknown /a") && !parses("--run-dir a"));
	assert(parses("--owner 1000:1000 --image /i" BOUNDS) && parses("--owner 1000:1000" BOUNDS));
	assert(!parses("--owner 1000:1000") && !parses("--owner 1000:1000 --cgroup /c"));
	assert(!parses("--owner 1000:1000 --ids 65536-131071") && !parses("--ids 65536-131071"));
	assert(!parses("--image /i") && !parses("--owner 0:0" BOUNDS) && !parses("--owner 1000:0" BOUNDS));
	assert(!parses("--owner 1000" BOUNDS) && !parses("--owner x:y" BOUNDS) && !parses("--owner -1:1" BOUNDS));
	assert(!parses("--owner 1000:1000 --ids 9-5 --cgroup /c"));
}

static void cgroups_out_of_reach_are_refused(void)
{
	struct jailer jailer = {.cgroups = {"/c/a", "/c/b/shale"}, .cgroup_count = 2};
	static const char *const inside[] = {"/c/a", "/c/a/x", "/c/b/shale/x/pids.max", "/c/a/..x", "/c/a/x.."};
	static const char *const outside[] = {"/c", "/c/ab", "/c/b", "/c/b/shal", "/c/a/..", "/c/a/../b",
					      "/c/a/x/../../../d", "c/a", ""};
	for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
		assert(is_cgroup_in_reach(&jailer, inside[i]));
	for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
		assert(!is_cgroup_in_reach(&jailer, outside[i]));
	jailer.cgroup_count = 0;
	assert(is_cgroup_in_reach(&jailer, "/c"));
}

int main(void)
{
	an_owner_without_bounds_is_refused();
	cgroups_out_of_reach_are_refused();
	a_path_is_below_a_base_only_by_whole_components();
	mount_flags_are_a_closed_set();
	allowed_paths_cannot_be_left();
	puts("jailer rules: ok");
	return 0;
}
