/*
 * The child's birth and its way to exec. It is cloned early, joins its cgroups and waits; host operations then act
 * on it (id maps, root); at `guest` it gets the word to go on. The end of the status pipe is its exec, or its death.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <linux/securebits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/* Ids below this one may belong to users of the host, root first of all. */
#define LEAST_HOST_ID 65536

static const struct {
	const char *name;
	uint64_t flag;
} namespaces[] = {
	{"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID},	      {"net", CLONE_NEWNET},
	{"ipc", CLONE_NEWIPC},	 {"uts", CLONE_NEWUTS},	 {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME},
};

static uint64_t find_namespace(const char *name)
{
	for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++)
		if (strcmp(namespaces[i].name, name) == 0)
			return namespaces[i].flag;
	return 0;
}

static bool parse_clone(struct launch *launch, const struct plan_op *op, uint64_t *flags, int *cgroup_fd)
{
	static const char prefix[] = "cgroup2=";
	for (uint32_t i = 0; i < op->word_count; i++) {
		const char *word = plan_text(op, i);
		uint64_t flag = find_namespace(word);
		*flags |= flag;
		if (flag != 0)
			continue;
		if (strncmp(word, prefix, sizeof prefix - 1) != 0 || *cgroup_fd >= 0)
			return fail(launch, EINVAL, word, "not a namespace");
		word += sizeof prefix - 1;
		*cgroup_fd = open_cgroup(launch->jailer, word, O_RDONLY | O_DIRECTORY);
		if (*cgroup_fd < 0)
			return fail(launch, *cgroup_fd, word, "opening the cgroup");
		*flags |= CLONE_INTO_CGROUP;
	}
	return true;
}

int raise_fd(int fd)
{
	int raised = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_FD_BASE);
	if (raised < 0)
		return fd;
	close(fd);
	return raised;
}

/* What map_ids will say; a base that is no number is refused there. */
static uid_t planned_id_base(const struct launch *launch)
{
	uint64_t base = 0;
	uint32_t index = plan_find(launch->plan, OP_MAP_IDS);
	if (index < launch->plan->op_count)
		plan_decimal(plan_text(&launch->plan->ops[index], 0), UINT32_MAX - 1, &base);
	return (uid_t)base;
}

/*
 * SECURITY: what a user namespace uses of the limits in user_namespaces(7) and inotify(7) is also counted for the
 * user who made it. Made by root, one sandbox could take all that the host's root may have, so each is made by the
 * effective id that will be its own root. The securebits keep our capabilities meanwhile; a new user namespace
 * starts with the default ones.
 */
static int clone_as_owner(struct clone_args *args, uid_t owner)
{
	int error = sys_result(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
	if (error < 0)
		return error;
	error = sys_result(syscall(SYS_setresuid, -1, owner, -1));
	int pid = error < 0 ? error : sys_clone3(args);
	if (pid == 0)
		return 0;
	if (syscall(SYS_setresuid, -1, 0, -1) < 0 || prctl(PR_SET_SECUREBITS, 0) < 0)
		die("becoming root again", -errno);
	return pid;
}

/*
 * The child shares our descriptors at first: it copies those that it needs, not those of all other children. It does
 * not share memory, and is born in the nursery.
 */
static int clone_child(struct launch *launch, uint64_t flags, int cgroup_fd)
{
	int pidfd = -1;
	struct clone_args args = {
		.flags = flags | CLONE_PIDFD | CLONE_FILES,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = cgroup_fd < 0 ? 0 : (uint64_t)cgroup_fd,
	};
	int pid = flags & CLONE_NEWUSER ? clone_as_owner(&args, planned_id_base(launch)) : sys_clone3(&args);
	if (pid == 0)
		guest_main(launch);
	if (pid > 0)
		launch->child = (struct child){.pid = pid, .pidfd = raise_fd(pidfd)};
	return pid;
}

/* A wait_fifo of the plan is opened before clone, as the child never sees the host's tree. */
static bool open_fifo(struct launch *launch)
{
	uint32_t clone_index = launch->op_index, index = plan_find(launch->plan, OP_WAIT_FIFO);
	if (index == launch->plan->op_count)
		return true;
	const char *path = plan_text(&launch->plan->ops[index], 0);
	struct spot spot;
	struct stat status;
	launch->op_index = index;
	act_as_owner(launch->jailer);
	int fd = allowed_spot(launch->jailer, path, &spot);
	if (fd == 0) {
		/* For reading and writing: opening never blocks, and the fifo never reaches its end. */
		fd = sys_openat2(spot.dir_fd, spot.name, O_RDWR | O_NONBLOCK, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
		close(spot.dir_fd);
	}
	act_as_root(launch->jailer);
	if (fd < 0)
		return fail(launch, fd, path, "opening the fifo, in an allowed directory");
	launch->fifo_fd = fd;
	if (fstat(fd, &status) < 0 || !S_ISFIFO(status.st_mode) || fcntl(fd, F_SETFL, 0) < 0)
		return fail(launch, EINVAL, path, "not a fifo");
	launch->op_index = clone_index;
	return true;
}

bool op_clone(struct launch *launch, const struct plan_op *op)
{
	uint64_t flags = 0;
	int cgroup_fd = -1;
	if (!open_joins(launch) || !open_fifo(launch) || !parse_clone(launch, op, &flags, &cgroup_fd))
		return false;
	*launch->jailer->progress = (struct progress){.op_index = launch->op_index};
	if (pipe2(launch->go_fds, O_CLOEXEC) < 0 || pipe2(launch->status_fds, O_CLOEXEC) < 0) {
		close_fd(&cgroup_fd);
		return fail(launch, errno, "", "making the child's pipes");
	}
	/* A cgroup namespace begins at the cgroups that its maker is in, so the child makes it once it has joined them. */
	launch->cgroup_namespace = (flags & CLONE_NEWCGROUP) != 0;
	flags &= ~(uint64_t)CLONE_NEWCGROUP;
	int pid = sys_setns(launch->jailer->nursery_ns, CLONE_NEWNS);
	if (pid == 0) {
		pid = clone_child(launch, flags, cgroup_fd);
		int stranded = sys_setns(launch->jailer->home_ns, CLONE_NEWNS);
		if (stranded < 0)
			die("returning to the home namespace", stranded);
	}
	close_fd(&cgroup_fd);
	return pid > 0 || fail(launch, pid, "", "cloning the child");
}

void undo_clone(struct launch *launch, const struct plan_op *op)
{
	siginfo_t info;
	(void)op;
	sys_pidfd_send_signal(launch->child.pidfd, SIGKILL);
	while (sys_waitid(P_PIDFD, launch->child.pidfd, &info, WEXITED, NULL) == -EINTR)
		continue;
	close_fd(&launch->child.pidfd);
	launch->child.pid = 0;
}

static int write_map(const struct launch *launch, const char *file, const char *map)
{
	char path[32];
	snprintf(path, sizeof path, "%d/%s", launch->child.pid, file);
	int fd = sys_openat2(launch->jailer->proc_fd, path, O_WRONLY, 0, 0);
	if (fd < 0)
		return fd;
	int error = write(fd, map, strlen(map)) < 0 ? -errno : 0;
	close(fd);
	return error;
}

bool op_map_ids(struct launch *launch, const struct plan_op *op)
{
	uint64_t base, count;
	char map[64];
	if (!plan_decimal(plan_text(op, 0), UINT32_MAX - 1, &base) || base < LEAST_HOST_ID)
		return fail(launch, EINVAL, plan_text(op, 0), "host ids begin at 65536");
	if (!plan_decimal(plan_text(op, 1), UINT32_MAX - base, &count) || count == 0)
		return fail(launch, EINVAL, plan_text(op, 1), "not a number of ids");
	snprintf(map, sizeof map, "0 %llu %llu\n", (unsigned long long)base, (unsigned long long)count);
	int error = write_map(launch, "uid_map", map);
	if (error == 0)
		error = write_map(launch, "gid_map", map);
	if (error == 0 && write(launch->go_fds[1], "", 1) != 1)
		error = -errno;
	launch->host_id_base = (uint32_t)base;
	launch->host_id_count = (uint32_t)count;
	return error == 0 || fail(launch, error, "", "writing the child's id maps");
}

static int remaining_ms(const struct timespec *start)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t passed = (int64_t)(now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
	return passed >= LAUNCH_TIMEOUT_MS ? 0 : (int)(LAUNCH_TIMEOUT_MS - passed);
}

/* Once the child has its own copies: from then on the end of the status pipe means that it has exec'd or died. */
static void close_child_ends(struct launch *launch)
{
	close_fd(&launch->go_fds[0]);
	close_fd(&launch->status_fds[1]);
}

/* Waits for a byte of the child. 1: there is one, 0: the pipe has ended, or a negative errno. */
static int await_status(struct launch *launch, const struct timespec *start)
{
	struct pollfd fds[] = {
		{.fd = launch->status_fds[0], .events = POLLIN},
		{.fd = launch->child.pidfd, .events = POLLIN},
	};
	int ready;
	char byte;
	do
		ready = poll(fds, 2, remaining_ms(start));
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return ready == 0 ? -ETIMEDOUT : -errno;
	/* A child that died before it had its own descriptors: while we hold its ends there is no end of file. */
	if (fds[0].revents == 0)
		close_child_ends(launch);
	return sys_result(read(launch->status_fds[0], &byte, 1));
}

/* Why the child did not get to exec. */
static bool fail_with_child(struct launch *launch, int error)
{
	const struct progress *progress = launch->jailer->progress;
	launch->op_index = progress->op_index;
	launch->failure.phase = PHASE_GUEST;
	if (error < 0)
		return fail(launch, error, "", "waiting for the child");
	if (progress->stage != STAGE_FAILED)
		return fail(launch, ECHILD, "", "the child died");
	launch->failure = progress->failure;
	return false;
}

bool launch_guest(struct launch *launch)
{
	struct timespec start;
	clock_gettime(CLOCK_MONOTONIC, &start);
	int status = await_status(launch, &start);
	if (status == 1) {
		close_child_ends(launch);
		if (write(launch->go_fds[1], "", 1) == 1)
			status = await_status(launch, &start);
	}
	enum stage stage = launch->jailer->progress->stage;
	if ((status == 0 && stage == STAGE_EXECUTING) || (status == 1 && stage == STAGE_WAITING))
		return true;
	return fail_with_child(launch, status);
}

void prefer_child_failure(struct launch *launch)
{
	if (launch->child.pid != 0 && launch->jailer->progress->stage == STAGE_FAILED)
		fail_with_child(launch, 0);
}
