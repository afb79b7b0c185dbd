/*
 * The last operation: descriptors, session, signals, seccomp, exec. The filter is loaded as the very last thing, so
 * that it needs to allow nothing but execve(2) or execveat(2) for our sake.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_KEPT_FD 3
#define KEYCTL_JOIN_SESSION_KEYRING 1

struct program {
	const char *path; /* NULL: the agent */
	int kept[MAX_SLOTS];
	int kept_count;
	char *argv[PLAN_MAX_WORDS + 1], *envp[PLAN_MAX_WORDS + 1];
};

static bool parse_kept(struct launch *launch, const char *text, struct program *program)
{
	char name[3];
	while (*text != 0) {
		size_t length = strcspn(text, ",");
		uint64_t slot;
		if (length == 0 || length >= sizeof name || program->kept_count == MAX_SLOTS)
			return false;
		memcpy(name, text, length);
		name[length] = 0;
		if (!plan_decimal(name, MAX_SLOTS - 1, &slot) || launch->slots[slot] < 0)
			return false;
		program->kept[program->kept_count++] = launch->slots[slot];
		text += length + (text[length] == ',');
	}
	return true;
}

static bool parse_program(struct launch *launch, const struct plan_op *op, struct program *program)
{
	uint64_t env_count;
	const char *path = plan_text(op, 0);
	if (path[0] != '/' && strcmp(path, "@agent") != 0)
		return fail(launch, EINVAL, path, "neither an absolute path nor @agent");
	program->path = path[0] == '/' ? path : NULL;
	if (!parse_kept(launch, plan_text(op, 1), program))
		return fail(launch, EINVAL, plan_text(op, 1), "not a list of filled slots");
	if (!plan_decimal(plan_text(op, 2), op->word_count - 4, &env_count))
		return fail(launch, EINVAL, plan_text(op, 2), "not the number of environment words before argv");
	for (uint32_t i = 3; i < op->word_count; i++) {
		char *word = (char *)(uintptr_t)plan_text(op, i);
		if (i < 3 + env_count)
			program->envp[i - 3] = word;
		else
			program->argv[i - 3 - env_count] = word;
	}
	return true;
}

/* Moves a descriptor out of the way of those that get fixed numbers. */
static bool lift(int *fd, int least)
{
	int lifted = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, least);
	*fd = *fd < 0 ? -1 : lifted;
	return lifted >= 0 || *fd == -1;
}

/* 0, 1, 2 are /dev/null, then the kept slots; everything else closes at exec. */
static bool arrange_descriptors(struct launch *launch, struct program *program)
{
	int end = FIRST_KEPT_FD + program->kept_count, null_fd = launch->jailer->null_fd;
	bool lifted = lift(&launch->status_fds[1], end) && lift(&launch->jailer->agent_fd, end) && lift(&null_fd, end);
	for (int i = 0; i < program->kept_count; i++)
		lifted = lifted && lift(&program->kept[i], end);
	for (int fd = 0; lifted && fd < end; fd++)
		lifted = dup2(fd < FIRST_KEPT_FD ? null_fd : program->kept[fd - FIRST_KEPT_FD], fd) == fd;
	if (!lifted)
		return fail(launch, errno, "", "arranging the descriptors");
	int error = sys_close_range((unsigned)end, ~0U, CLOSE_RANGE_CLOEXEC);
	return error == 0 || fail(launch, error, "", "closing the other descriptors");
}

/* What a process inherits beyond its descriptors. */
static bool reset_process(struct launch *launch)
{
	sigset_t none;
	sigemptyset(&none);
	umask(022);
	/* All others are at their default since the jailer's start. */
	for (size_t i = 0; i < IGNORED_SIGNAL_COUNT; i++)
		signal(ignored_signals[i], SIG_DFL);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || setsid() < 0)
		return fail(launch, errno, "", "starting a session");
	/* Not to possess the keys of whoever started the daemon. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return fail(launch, errno, "", "starting a session keyring");
	return true;
}

static bool apply_seccomp(struct guest *guest)
{
	struct launch *launch = guest->launch;
	uint32_t exec_index = launch->op_index;
	if (guest->seccomp_index == 0)
		return true;
	launch->op_index = guest->seccomp_index;
	int error = load_seccomp(&launch->plan->ops[guest->seccomp_index]);
	if (error < 0)
		return fail(launch, error, "", "loading the seccomp filter");
	launch->op_index = exec_index;
	return true;
}

bool op_exec(struct guest *guest, const struct plan_op *op)
{
	static struct program program;
	struct launch *launch = guest->launch;
	if (!parse_program(launch, op, &program))
		return false;
	if (program.path == NULL && launch->jailer->agent_fd < 0)
		return fail(launch, ENOENT, "@agent", "the jailer was given no agent");
	if (!arrange_descriptors(launch, &program) || !reset_process(launch))
		return false;
	launch->jailer->progress->stage = STAGE_EXECUTING;
	if (!apply_seccomp(guest))
		return false;
	if (program.path != NULL)
		execve(program.path, program.argv, program.envp);
	else
		syscall(SYS_execveat, launch->jailer->agent_fd, "", program.argv, program.envp, AT_EMPTY_PATH);
	return fail(launch, errno, plan_text(op, 0), "executing");
}
