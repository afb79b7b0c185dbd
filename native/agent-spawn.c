// The child runs on the agent's memory (CLONE_VM) with its own stack while the agent sleeps (CLONE_VFORK): no page table
// is copied, and the child reports what failed by writing it down. So code in the child must not touch anything of the
// agent but its own stack and `struct child`. That the child may have changed its user while it shares the agent's memory
// is safe because the agent is not dumpable: nobody of that user can trace it.
#define _GNU_SOURCE
#include "agent-spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	CHILD_STACK_BYTES = 32 * 1024, // child_main and a PATH_MAX buffer; only touched pages are memory
	OOM_DISTANCE = 100,	       // of 1000: children go before the agent when memory runs out
	OOM_MAX = 1000,
};

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct child {
	const struct spawn_request *request;
	struct spawn_failure failure;
};

// A child inherits the OOM score at clone, so raising the agent's own for that moment costs two writes to an open
// file, where a child that writes its own pays for the look-up of a new directory in /proc. Lowering it again needs no
// privilege: only going below the score that the agent was started with does.
static struct {
	int fd;
	char own[16], raised[16];
} oom_score = {.fd = -1};

static void set_oom_score(const char *score)
{
	if (oom_score.fd >= 0 && pwrite(oom_score.fd, score, strlen(score), 0) < 0)
		return; // a child as likely to be killed as the agent is better than no child
}

void spawn_init(void)
{
	char text[16] = "";
	oom_score.fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (oom_score.fd < 0 || pread(oom_score.fd, text, sizeof text - 1, 0) <= 0)
		return;
	int own = atoi(text), raised = own + OOM_DISTANCE;
	snprintf(oom_score.own, sizeof oom_score.own, "%d", own);
	snprintf(oom_score.raised, sizeof oom_score.raised, "%d", raised < OOM_MAX ? raised : OOM_MAX);
}

static bool failed(struct child *child, const char *step, const char *subject)
{
	child->failure = (struct spawn_failure){.step = step, .subject = subject, .error = errno};
	return false;
}

static bool set_limits(struct child *child)
{
	const struct spawn_request *request = child->request;
	for (uint32_t i = 0; i < request->limit_count; i++) {
		const struct spawn_limit *limit = &request->limits[i];
		const uint64_t pair[2] = {limit->soft, limit->hard}; // struct rlimit64
		if (syscall(SYS_prlimit64, 0, limit->resource, pair, NULL) < 0)
			return failed(child, "setrlimit", "resource limit");
	}
	return true;
}

static bool take_stdio(struct child *child)
{
	const struct spawn_request *request = child->request;
	if (request->is_terminal && ioctl(request->stdio[0], TIOCSCTTY, 0) < 0)
		return failed(child, "ioctl", "controlling terminal");
	for (int fd = 0; fd < 3; fd++)
		if (request->stdio[fd] >= 0 && dup2(request->stdio[fd], fd) < 0)
			return failed(child, "dup2", "standard streams");
	// Closed now and not at exec, so that no other process's pipe is held open by this one for even a moment.
	// Where the system call is missing, close-on-exec of all the agent's descriptors does it.
	syscall(SYS_close_range, 3, ~0U, 0);
	return true;
}

static bool become_user(struct child *child)
{
	const struct user *user = child->request->user;
	if (user->is_agent)
		return true;
	// So that /dev/stdout and /dev/tty can be opened again by their user; the empty input is everybody's.
	for (int fd = 0; fd < 3; fd++)
		if (child->request->stdio[fd] >= 0 && fchown(fd, user->uid, (gid_t)-1) < 0 && errno != EPERM)
			return failed(child, "fchown", "standard streams");
	// System calls, not libc's functions: those synchronise threads, and this is not the agent's thread.
	if (syscall(SYS_setgroups, (size_t)user->group_count, user->groups) < 0)
		return failed(child, "setgroups", "supplementary groups");
	if (syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0)
		return failed(child, "setgid", "group");
	if (syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
		return failed(child, "setuid", "user");
	return true;
}

static bool enter_directory(struct child *child)
{
	const char *cwd = child->request->cwd;
	if (!*cwd || strcmp(cwd, "/") == 0)
		return true; // where the agent is
	return chdir(cwd) == 0 || failed(child, "chdir", cwd);
}

static const char *find_variable(char *const *envp, const char *prefix)
{
	size_t length = strlen(prefix);
	for (; *envp; envp++)
		if (strncmp(*envp, prefix, length) == 0)
			return *envp + length;
	return NULL;
}

// execvpe(3) with the PATH of the new environment, and without its fall-back to a shell. Returns only with errno.
static void exec_in_path(const struct spawn_request *request)
{
	const char *name = request->argv[0];
	if (!*name || strchr(name, '/')) {
		execve(name, request->argv, request->envp);
		return;
	}
	const char *path = find_variable(request->envp, "PATH=");
	bool was_denied = false;
	for (const char *entry = path ? path : default_path; entry;) {
		const char *colon = strchrnul(entry, ':');
		char file[PATH_MAX];
		int length = snprintf(file, sizeof file, "%.*s%s%s", (int)(colon - entry), entry,
				      colon == entry ? "" : "/", name);
		errno = ENAMETOOLONG;
		if (length > 0 && (size_t)length < sizeof file)
			execve(file, request->argv, request->envp);
		if (errno == EACCES)
			was_denied = true;
		else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG)
			return;
		entry = *colon ? colon + 1 : NULL;
	}
	errno = was_denied ? EACCES : ENOENT;
}

static bool exec_program(struct child *child)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL); // dispositions are default already: the agent has no handler
	exec_in_path(child->request);
	return failed(child, "exec", child->request->argv[0]);
}

// The order matters: limits while still privileged, the user before the directory (which must be one that the user may
// enter), exec last.
static int child_main(void *argument)
{
	struct child *child = argument;
	setsid();
	if (set_limits(child) && take_stdio(child) && become_user(child) && enter_directory(child))
		exec_program(child);
	_exit(spawn_exit_code(&child->failure));
}

pid_t spawn(const struct spawn_request *request, struct spawn_failure *failure)
{
	static _Alignas(16) char stack[CHILD_STACK_BYTES];
	struct child child = {.request = request};
	set_oom_score(oom_score.raised);
	pid_t pid = clone(child_main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
	int error = errno;
	set_oom_score(oom_score.own);
	*failure = child.failure;
	errno = error;
	return pid;
}

int spawn_exit_code(const struct spawn_failure *failure)
{
	bool is_missing = failure->error == ENOENT || failure->error == ENOTDIR;
	return is_missing && strcmp(failure->step, "exec") == 0 ? 127 : 126;
}
