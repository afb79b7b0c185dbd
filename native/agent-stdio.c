// Opening and closing of a child's standard streams, all close-on-exec and above 2.
#define _GNU_SOURCE
#include "agent-stdio.h"

#include "agent-pty.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { RESERVED_FDS = 16 }; // for a new client, /etc/passwd and the like, however many processes there are

static const struct stdio closed = {.child = {-1, -1, -1}, .agent = {-1, -1, -1}};

static void close_each(int fds[3])
{
	for (int i = 0; i < 3; i++) {
		// A terminal is one descriptor in three places.
		bool is_again = i > 0 && fds[i] == fds[i - 1];
		if (fds[i] >= 0 && !is_again)
			close(fds[i]);
	}
	fds[0] = fds[1] = fds[2] = -1;
}

void stdio_close_child(struct stdio *stdio)
{
	close_each(stdio->child);
}

void stdio_close(struct stdio *stdio)
{
	close_each(stdio->child);
	close_each(stdio->agent);
}

// The kernel gives the lowest free number, so the newest one says how many are in use.
static bool is_beyond_reserve(int newest_fd)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return false;
	return (rlim_t)newest_fd + RESERVED_FDS >= limit.rlim_cur;
}

static int finish(struct stdio *stdio, int error)
{
	int newest = stdio->agent[2] > stdio->agent[1] ? stdio->agent[2] : stdio->agent[1];
	if (!error && is_beyond_reserve(newest))
		error = EMFILE;
	if (error)
		stdio_close(stdio);
	return error;
}

// Only the agent's end becomes non-blocking: programs do not expect it of theirs.
static bool open_pipe(int *reading, int *writing, int *of_agent)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	*reading = ends[0];
	*writing = ends[1];
	return fcntl(*of_agent, F_SETFL, O_NONBLOCK) == 0;
}

int stdio_open_pipes(struct stdio *stdio, bool wants_input)
{
	int *child = stdio->child, *agent = stdio->agent;
	*stdio = closed;
	bool is_open = (!wants_input || open_pipe(&child[0], &agent[0], &agent[0])) &&
		       open_pipe(&agent[1], &child[1], &agent[1]) && open_pipe(&agent[2], &child[2], &agent[2]);
	return finish(stdio, is_open ? 0 : errno);
}

int stdio_open_terminal(struct stdio *stdio, bool wants_input, uint16_t cols, uint16_t rows)
{
	struct pty pty;
	*stdio = closed;
	int error = pty_open(&pty, cols, rows);
	if (error)
		return error;
	for (int i = 0; i < 3; i++)
		stdio->child[i] = pty.slave;
	stdio->agent[1] = pty.master;
	// A second descriptor of the master, so that reading and writing wait independently, like two pipes.
	if (wants_input && (stdio->agent[0] = fcntl(pty.master, F_DUPFD_CLOEXEC, 3)) < 0)
		error = errno;
	return finish(stdio, error);
}
