// The agent: PID 1 of every sandbox. It starts processes for the one client at its listening socket (descriptor 3), keeps
// their output and their exits, and reaps whatever else dies. native/README.md has the protocol and the invariants.
//
// One thread, one loop: wait, handle what is ready, reap, kill what is overdue, then send everything in one piece.
#define _GNU_SOURCE
#include "agent-connection.h"
#include "agent-files-worker.h"
#include "agent-files.h"
#include "agent-process.h"
#include "agent-spawn.h"
#include "agent-watch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	LISTENER_FD = 3,
	// After a start: how long a silence is waited for, and how many rounds of events at the most.
	LINGER_MS = 1,
	LINGER_ROUNDS = 6,
};

static struct watch child_signal = {.fd = -1};
static bool has_dead_children;

// The only place where a child is waited for: a second one would lose exit statuses.
static void reap_children(void)
{
	int wait_status;
	struct rusage usage;
	pid_t pid;
	while ((pid = wait4(-1, &wait_status, WNOHANG, &usage)) > 0 || (pid < 0 && errno == EINTR))
		if (pid > 0 && !files_note_exit(pid))
			processes_note_exit(pid, wait_status, &usage);
}

static void on_child_signal(struct watch *watch, uint32_t events)
{
	struct signalfd_siginfo info;
	(void)events;
	if (read(watch->fd, &info, sizeof info) > 0)
		has_dead_children = true; // one signal may stand for many
}

// All signals are blocked, not ignored: what is ignored stays ignored in every program that a child executes, and a
// child clears a mask with one call. Nothing but SIGKILL and SIGSTOP from outside the sandbox can then stop PID 1.
static void block_signals(void)
{
	sigset_t all;
	const struct sigaction by_default = {.sa_handler = SIG_DFL};
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (int number = 1; number <= SIGRTMAX; number++)
		sigaction(number, &by_default, NULL); // SIGKILL, SIGSTOP and libc's own are refused, and need not be
}

static void watch_children(void)
{
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	child_signal = (struct watch){.fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), .ready = on_child_signal};
	if (child_signal.fd < 0 || !watch_for(&child_signal, EPOLLIN))
		_exit(1);
}

// 0 becomes an input that is always at its end, which is also the stdin of processes that get none of their own.
static void take_descriptors(void)
{
	int flags = fcntl(LISTENER_FD, F_GETFL);
	if (flags < 0 || fcntl(LISTENER_FD, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(LISTENER_FD, F_SETFD, FD_CLOEXEC) < 0)
		_exit(1);
	syscall(SYS_close_range, LISTENER_FD + 1, ~0U, 0);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return; // a sandbox without devices: whoever started the agent gave it something there
	for (int fd = 0; fd < 3; fd++)
		if (fd != null)
			dup2(null, fd);
	if (null > 2)
		close(null);
	else
		fcntl(null, F_SETFD, 0); // that one was closed, and this is it
}

// What children inherit is set here once instead of in each of them.
static void set_process_attributes(void)
{
	umask(022);
	setgroups(0, NULL); // fails without privilege, and then there is none to drop
	if (chdir("/") < 0)
		_exit(1);
	if (getpid() != 1)
		prctl(PR_SET_CHILD_SUBREAPER, 1); // started as an ordinary process: orphans come to it all the same
	spawn_init();
	// SECURITY: nobody in the sandbox can trace the agent, read its memory or open its descriptors. After spawn_init,
	// because from here on the files of /proc/self belong to the host's root.
	prctl(PR_SET_DUMPABLE, 0);
}

// Most programs end at once. Their start, output and end then leave in one piece, and the client wakes up once.
static void linger(void)
{
	for (int round = 0; round < LINGER_ROUNDS && !has_dead_children; round++)
		if (!watch_dispatch(LINGER_MS))
			return;
}

// -1 is for ever.
static int shorter(int a_ms, int b_ms)
{
	return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], files_worker_argument) == 0)
		return files_worker_main();
	block_signals();
	take_descriptors();
	set_process_attributes();
	watch_init();
	watch_children();
	connection_init(LISTENER_FD);
	for (;;) {
		bool has_more = connection_turn();
		int sleep_ms = shorter(processes_enforce_deadlines(), files_enforce_deadlines());
		watch_dispatch(has_more ? 0 : sleep_ms);
		if (processes_take_started())
			linger();
		if (has_dead_children) {
			has_dead_children = false;
			reap_children();
		}
	}
}
