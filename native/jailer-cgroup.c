/* Operations on cgroups, v1 and v2. All paths lie below /sys/fs/cgroup and on a cgroup filesystem. */
#include "jailer.h"
#include "jailer-kernel.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Tasks leave a cgroup in the moment of their exit; this is for the moment. */
#define REMOVE_TIMEOUT_MS 500
#define REMOVE_PAUSE_US 200

/* For all to read, as cgroups are: who is not root tells what a sandbox uses. */
static int make_cgroup(const struct spot *spot)
{
	mode_t old_mask = umask(022);
	int error = sys_result(mkdirat(spot->dir_fd, spot->name, 0755));
	umask(old_mask);
	return error;
}

bool op_cgroup_create(struct launch *launch, const struct plan_op *op)
{
	const char *path = plan_text(op, 0);
	struct spot spot;
	int error = cgroup_spot(launch->jailer, path, &spot);
	if (error < 0)
		return fail(launch, error, path, "opening the parent cgroup");
	error = make_cgroup(&spot);
	close(spot.dir_fd);
	return error == 0 || fail(launch, error, path, "creating the cgroup");
}

bool op_cgroup_ensure(struct launch *launch, const struct plan_op *op)
{
	char path[PATH_MAX];
	const char *text = plan_text(op, 0);
	int fd = open_cgroup(launch->jailer, text, O_PATH | O_DIRECTORY);
	if (fd >= 0)
		return close(fd) == 0;
	if (fd != -ENOENT || strlen(text) >= sizeof path)
		return fail(launch, fd, text, "opening the cgroup");
	strcpy(path, text);
	/* The controllers' own directories exist; the first missing component is made below one of them. */
	for (char *end = path + strlen("/sys/fs/cgroup/"); end != NULL; *end++ = '/') {
		struct spot spot;
		if ((end = strchr(end, '/')) != NULL)
			*end = 0;
		int error = cgroup_spot(launch->jailer, path, &spot);
		if (error == -EXDEV && end != NULL)
			continue;
		if (error == 0) {
			error = make_cgroup(&spot);
			close(spot.dir_fd);
		}
		if (error < 0 && error != -EEXIST)
			return fail(launch, error, path, "creating the cgroup");
		if (end == NULL)
			break;
	}
	return true;
}

/*
 * Files that are no limits: the first two name a program that the host's kernel runs as root, the others move
 * tasks or hand out descriptors. cgroup_join is the way to move the one task that a plan may move.
 */
static bool is_forbidden_file(const char *path)
{
	static const char *const names[] = {"release_agent", "notify_on_release", "cgroup.procs",
					    "cgroup.threads", "tasks", "cgroup.event_control"};
	const char *name = strrchr(path, '/');
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (name == NULL || strcmp(name + 1, names[i]) == 0)
			return true;
	return false;
}

static int write_file(int fd, const char *value)
{
	size_t length = strlen(value);
	ssize_t written = write(fd, value, length);
	if (written < 0)
		return -errno;
	return (size_t)written == length ? 0 : -EIO;
}

bool op_cgroup_write(struct launch *launch, const struct plan_op *op)
{
	const char *path = plan_text(op, 0);
	if (is_forbidden_file(path))
		return fail(launch, EPERM, path, "this control file is not for plans");
	int fd = open_cgroup(launch->jailer, path, O_WRONLY | O_NOFOLLOW);
	if (fd < 0)
		return fail(launch, fd, path, "opening the control file");
	int error = write_file(fd, plan_text(op, 1));
	close(fd);
	return error == 0 || fail(launch, error, path, "writing the control file");
}

/* Opens `tasks` of the v1 cgroup that the operation at `index` joins. */
static bool open_join(struct launch *launch, uint32_t index)
{
	const char *path = plan_text(&launch->plan->ops[index], 0);
	char tasks[PATH_MAX];
	if (launch->join_count == MAX_JOINS)
		return fail(launch, E2BIG, path, "too many cgroups to join");
	if (snprintf(tasks, sizeof tasks, "%s/tasks", path) >= (int)sizeof tasks)
		return fail(launch, ENAMETOOLONG, path, "joining the cgroup");
	int fd = open_cgroup(launch->jailer, tasks, O_WRONLY | O_NOFOLLOW);
	if (fd < 0)
		return fail(launch, fd, path, "opening tasks of a v1 cgroup that exists before clone");
	launch->joins[launch->join_count++] = (struct cgroup_join){.op_index = index, .tasks_fd = fd};
	return true;
}

bool open_joins(struct launch *launch)
{
	uint32_t clone_index = launch->op_index;
	for (uint32_t i = clone_index; i < launch->plan->op_count; i++) {
		launch->op_index = i;
		if (launch->plan->ops[i].spec->opcode == OP_CGROUP_JOIN && !open_join(launch, i))
			return false;
	}
	launch->op_index = clone_index;
	return true;
}

/*
 * The child does it, first thing after its birth: it writes itself, "0", into `tasks`. A process that moves only
 * itself needs no lock against the forks and exits of the whole host; any other way waits for an RCU grace period,
 * 10 to 25 ms when the host was quiet.
 */
bool op_cgroup_join(struct launch *launch, const struct plan_op *op)
{
	(void)launch;
	(void)op;
	return true;
}

static int open_control_file(const struct jailer *jailer, const char *cgroup, const char *name, uint64_t flags)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/%s", cgroup, name) >= (int)sizeof path)
		return -ENAMETOOLONG;
	return open_cgroup(jailer, path, flags | O_NOFOLLOW);
}

typedef bool visitor(const void *context, pid_t pid);

/*
 * Calls `visit` with each process of the cgroup, zombies excepted, until it returns true. 1: it did, 0: it never did,
 * or a negative errno. The file has numbers, one a line, in whatever pieces they are read.
 */
static int visit_processes(const struct jailer *jailer, const char *cgroup, visitor *visit, const void *context)
{
	char buffer[4096];
	pid_t pid = 0;
	ssize_t count;
	int fd = open_control_file(jailer, cgroup, "cgroup.procs", O_RDONLY), result = 0;
	if (fd < 0)
		return fd;
	while (result == 0 && (count = read(fd, buffer, sizeof buffer)) != 0) {
		result = count < 0 ? -errno : 0;
		for (ssize_t i = 0; i < count && result == 0; i++) {
			if (buffer[i] != '\n') {
				pid = pid * 10 + (buffer[i] - '0');
				continue;
			}
			result = visit(context, pid);
			pid = 0;
		}
	}
	close(fd);
	return result;
}

static bool is_same(const void *wanted, pid_t pid)
{
	return *(const pid_t *)wanted == pid;
}

int cgroup_has(const struct jailer *jailer, const char *cgroup, pid_t pid)
{
	return visit_processes(jailer, cgroup, is_same, &pid);
}

struct killing {
	const struct jailer *jailer;
	const char *cgroup;
};

/* A number that was read may be another process's by now; one that is still listed while we hold it is not. */
static bool kill_member(const void *context, pid_t pid)
{
	const struct killing *killing = context;
	int fd = sys_pidfd_open(pid);
	if (fd >= 0 && cgroup_has(killing->jailer, killing->cgroup, pid) == 1)
		sys_pidfd_send_signal(fd, SIGKILL);
	close_fd(&fd);
	return false;
}

/* Where the kernel has no cgroup.kill: on v1, and before Linux 5.14. */
static int kill_members(const struct jailer *jailer, const char *cgroup)
{
	struct killing killing = {jailer, cgroup};
	return visit_processes(jailer, cgroup, kill_member, &killing);
}

static int kill_all(const struct jailer *jailer, const char *cgroup)
{
	int fd = open_control_file(jailer, cgroup, "cgroup.kill", O_WRONLY);
	if (fd == -ENOENT)
		return kill_members(jailer, cgroup);
	if (fd < 0)
		return fd;
	int error = write_file(fd, "1");
	close(fd);
	return error;
}

bool op_cgroup_kill(struct launch *launch, const struct plan_op *op)
{
	const char *path = plan_text(op, 0);
	int error = kill_all(launch->jailer, path);
	/* ENODEV: it was removed while we held it. */
	if (error == 0 || error == -ENOENT || error == -ENODEV)
		return true;
	return fail(launch, error, path, "killing the cgroup");
}

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int remove_directory(int dir_fd, const char *name, uint64_t deadline_ms)
{
	for (;;) {
		int error = sys_result(unlinkat(dir_fd, name, AT_REMOVEDIR));
		if (error != -EBUSY || now_ms() >= deadline_ms)
			return error == -ENOENT ? 0 : error;
		usleep(REMOVE_PAUSE_US);
	}
}

static int remove_tree(int dir_fd, const char *name, uint64_t deadline_ms, int depth);

static int remove_children(int dir_fd, const char *name, uint64_t deadline_ms, int depth)
{
	int fd = sys_openat2(dir_fd, name, O_RDONLY | O_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL)
		return fd < 0 ? fd : -errno;
	int error = 0;
	for (struct dirent *entry; error == 0 && (entry = readdir(dir)) != NULL;)
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			error = remove_tree(fd, entry->d_name, deadline_ms, depth + 1);
	closedir(dir);
	return error;
}

/* A sandbox may have made cgroups below its own, 64 deep at most are removed. */
static int remove_tree(int dir_fd, const char *name, uint64_t deadline_ms, int depth)
{
	int error = sys_result(unlinkat(dir_fd, name, AT_REMOVEDIR));
	if (error == 0 || error == -ENOENT)
		return 0;
	if (error != -EBUSY)
		return error;
	error = depth < 64 ? remove_children(dir_fd, name, deadline_ms, depth) : -ELOOP;
	return error == 0 ? remove_directory(dir_fd, name, deadline_ms) : error;
}

static int remove_cgroup(struct launch *launch, const char *path)
{
	struct spot spot;
	int error = cgroup_spot(launch->jailer, path, &spot);
	if (error < 0)
		return error == -ENOENT ? 0 : error;
	error = remove_tree(spot.dir_fd, spot.name, now_ms() + REMOVE_TIMEOUT_MS, 0);
	close(spot.dir_fd);
	return error;
}

bool op_cgroup_remove(struct launch *launch, const struct plan_op *op)
{
	const char *path = plan_text(op, 0);
	int error = remove_cgroup(launch, path);
	return error == 0 || fail(launch, error, path, "removing the cgroup");
}

void undo_cgroup_create(struct launch *launch, const struct plan_op *op)
{
	remove_cgroup(launch, plan_text(op, 0));
}
