// Starting workers, counting them, and seeing to their end.
#define _GNU_SOURCE
#include "agent-files.h"

#include "agent-clock.h"
#include "agent-spawn.h"
#include "agent-tunnel.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MAX_WORKERS = 32, // at once; a worker has some 100 KiB, and what it reads ahead
	// For unlinking a half-written file. Whatever takes longer hangs, or would go on for nobody.
	GRACE_MS = 2000,
};

const char files_worker_argument[] = "files";

// The slot is free when both are over, in whichever order they end.
struct worker {
	pid_t pid; // 0: reaped
	bool has_tunnel;
	uint64_t kill_at_ms; // CLOCK_MONOTONIC; 0: not to be killed, or killed already
};

static struct worker workers[MAX_WORKERS];
static uint32_t doomed_count; // of those that have a time to be killed at

static void on_tunnel_closed(void *owner)
{
	struct worker *worker = owner;
	worker->has_tunnel = false;
	if (!worker->pid)
		return;
	worker->kill_at_ms = now_ms(CLOCK_MONOTONIC) + GRACE_MS;
	doomed_count++;
}

static struct worker *find_free(void)
{
	for (int i = 0; i < MAX_WORKERS; i++)
		if (!workers[i].pid && !workers[i].has_tunnel)
			return &workers[i];
	return NULL;
}

// The worker's program is the agent's own, which in a sandbox is a sealed file in memory: reading it waits for nothing.
static int start_worker(struct worker *worker, int worker_fd)
{
	static const struct user as_agent = {.is_agent = true};
	char name[] = "/proc/self/exe", argument[8];
	strcpy(argument, files_worker_argument);
	char *argv[] = {name, argument, NULL}, *envp[] = {NULL};
	struct spawn_failure failure;
	struct spawn_request program = {
		.argv = argv, .envp = envp, .cwd = "", .user = &as_agent, .stdio = {worker_fd, -1, -1}};
	pid_t pid = spawn(&program, &failure);
	if (pid < 0)
		return errno;
	if (failure.step)
		return failure.error; // it exits; nobody needs to know when
	*worker = (struct worker){.pid = pid, .has_tunnel = true};
	return 0;
}

// The request is the first thing in the socket, where it fits.
static bool send_request(int fd, const uint8_t *request, uint32_t length)
{
	uint8_t head[4];
	wire_put_u32(head, length);
	return send(fd, head, sizeof head, MSG_NOSIGNAL) == sizeof head &&
	       send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static int open_worker(uint32_t channel, uint32_t credit, const uint8_t *request, uint32_t length)
{
	struct worker *worker = find_free();
	int ends[2];
	if (!worker)
		return EAGAIN;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return errno;
	int error = 0;
	if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 || !send_request(ends[0], request, length))
		error = errno;
	else
		error = start_worker(worker, ends[1]);
	close(ends[1]);
	if (!error && !tunnel_open(ends[0], channel, credit, (struct tunnel_end){on_tunnel_closed, worker})) {
		error = errno;
		on_tunnel_closed(worker);
	}
	if (error)
		close(ends[0]);
	return error;
}

void files_open(uint32_t channel, uint32_t credit, const uint8_t *request, uint32_t length)
{
	int error = length <= FILES_MAX_REQUEST_BYTES ? open_worker(channel, credit, request, length) : EINVAL;
	if (error)
		tunnel_refuse(channel, error, error == EAGAIN ? "too many file operations or processes at once"
							      : "the file operation could not be started");
}

bool files_note_exit(pid_t pid)
{
	for (int i = 0; i < MAX_WORKERS; i++) {
		struct worker *worker = &workers[i];
		if (worker->pid != pid)
			continue;
		doomed_count -= worker->kill_at_ms != 0;
		worker->pid = 0;
		worker->kill_at_ms = 0;
		return true;
	}
	return false;
}

int files_enforce_deadlines(void)
{
	if (!doomed_count)
		return -1;
	uint64_t now = now_ms(CLOCK_MONOTONIC);
	int sleep_ms = -1;
	for (int i = 0; i < MAX_WORKERS; i++) {
		struct worker *worker = &workers[i];
		if (!worker->kill_at_ms)
			continue;
		if (worker->kill_at_ms <= now) {
			kill(worker->pid, SIGKILL); // it has not been reaped, so the pid is still its own
			worker->kill_at_ms = 0;
			doomed_count--;
		} else if (sleep_ms < 0 || worker->kill_at_ms - now < (uint64_t)sleep_ms) {
			sleep_ms = (int)(worker->kill_at_ms - now);
		}
	}
	return sleep_ms;
}
