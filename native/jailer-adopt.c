/*
 * Children that an earlier jailer left behind: recognised by pid and start time, watched and killed by pidfd. They are
 * reaped by the host's init, so how they ended has to be found out.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fields of proc_pid_stat(5), counted from 1. */
enum { FIELD_STATE = 3, FIELD_START = 22, FIELD_EXIT_CODE = 52 };

struct task_stat {
	char state;
	uint64_t start_ticks;
	int exit_code;
};

/* The beginning of /proc/PID/NAME, with a NUL. A length or a negative errno. */
static int read_proc(const struct jailer *jailer, pid_t pid, const char *name, char *buffer, size_t size)
{
	char path[32];
	snprintf(path, sizeof path, "%d/%s", pid, name);
	int fd = sys_openat2(jailer->proc_fd, path, O_RDONLY, 0, 0);
	if (fd < 0)
		return fd;
	ssize_t count = read(fd, buffer, size - 1);
	int length = count < 0 ? -errno : (int)count;
	close(fd);
	buffer[length < 0 ? 0 : length] = 0;
	return length;
}

/* The command is the process's own choice and may contain anything, so fields are counted from its last ")". */
static int read_stat(const struct jailer *jailer, pid_t pid, struct task_stat *stat)
{
	char buffer[2048];
	int length = read_proc(jailer, pid, "stat", buffer, sizeof buffer);
	const char *at = length < 0 ? NULL : strrchr(buffer, ')');
	*stat = (struct task_stat){0};
	if (length < 0)
		return length == -ENOENT ? -ESRCH : length;
	for (int field = FIELD_STATE; at != NULL && field <= FIELD_EXIT_CODE; field++) {
		at = strchr(at, ' ');
		if (at == NULL)
			return -EPROTO;
		at++;
		if (field == FIELD_STATE)
			stat->state = *at;
		else if (field == FIELD_START)
			stat->start_ticks = strtoull(at, NULL, 10);
		else if (field == FIELD_EXIT_CODE)
			stat->exit_code = atoi(at);
	}
	return at == NULL ? -EPROTO : 0;
}

void note_start(const struct jailer *jailer, struct child *child)
{
	struct task_stat stat;
	child->start_ticks = read_stat(jailer, child->pid, &stat) == 0 ? stat.start_ticks : 0;
}

/* It has two pids: one here, and 1 in its own namespace. One that a sandbox made inside of its own has more. */
static bool is_namespace_init(const struct jailer *jailer, pid_t pid)
{
	char buffer[8192];
	int outer, inner, end = 0;
	if (read_proc(jailer, pid, "status", buffer, sizeof buffer) < 0)
		return false;
	const char *line = strstr(buffer, "\nNSpid:");
	return line != NULL && sscanf(line, "\nNSpid: %d %d%n", &outer, &inner, &end) == 2 && inner == 1 &&
	       line[end] == '\n';
}

/* A cgroup of Shale's is asked for by name, and only where --cgroup says which these are. */
int check_cgroup(const struct jailer *jailer, pid_t pid, const char *cgroup)
{
	int has = jailer->cgroup_count == 0 ? -EPERM : cgroup_has(jailer, cgroup, pid);
	if (has == -ENOENT || has == -ENODEV)
		return -ESRCH;
	return has == 1 ? 0 : -EPERM;
}

static int check_identity(const struct jailer *jailer, const struct child *child, const char *cgroup)
{
	struct task_stat stat;
	int error = read_stat(jailer, child->pid, &stat);
	if (error < 0)
		return error;
	if (stat.start_ticks != child->start_ticks || stat.state == 'Z' || stat.state == 'X')
		return -ESRCH;
	return is_namespace_init(jailer, child->pid) ? check_cgroup(jailer, child->pid, cgroup) : -EPERM;
}

int adopt(const struct jailer *jailer, struct child *child, const char *cgroup)
{
	if (child->pid <= 0)
		return -ESRCH;
	child->adopted = true;
	child->pidfd = sys_pidfd_open(child->pid);
	if (child->pidfd < 0)
		return child->pidfd == -EINVAL ? -ESRCH : child->pidfd;
	int error = check_identity(jailer, child, cgroup);
	/* As long as the descriptor's process lives, all that was read by pid was of this one. */
	int gone = sys_pidfd_send_signal(child->pidfd, 0);
	if (error == 0 && gone == 0) {
		child->pidfd = raise_fd(child->pidfd);
		return 0;
	}
	close_fd(&child->pidfd);
	return gone < 0 ? gone : error;
}

int find_wait_status(const struct jailer *jailer, const struct child *child)
{
	struct task_stat stat;
	struct pidfd_info info = {.mask = PIDFD_INFO_EXIT};
	/* A zombie still has it; when that is gone as well, the kernel keeps it for holders of a pidfd. */
	if (read_stat(jailer, child->pid, &stat) == 0 && stat.start_ticks == child->start_ticks)
		return stat.exit_code;
	if (ioctl(child->pidfd, PIDFD_GET_INFO, &info) == 0 && (info.mask & PIDFD_INFO_EXIT) != 0)
		return info.exit_code;
	return -1;
}
