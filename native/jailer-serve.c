/*
 * `jailer serve`: one client on a stream socket, one thread, one epoll. Plans run one after another; the exits of
 * their children are told as they happen. The end of the socket is the end of the jailer; sandboxes live on.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define HEADER_BYTES 9 /* u32 payload length, u32 request id, u8 type */
#define MAX_REPLY_BYTES 512
#define MAX_EVENTS 32
#define CLIENT_EVENT UINT64_MAX

#define UNKNOWN_STATUS 0xff00 /* for those who do not look at the flag: exit code 255 */

enum request_type { REQUEST_PLAN = 1, REQUEST_KILL = 2, REQUEST_WATCH = 3 };
enum reply_type { REPLY_OK = 1, REPLY_ERROR = 2, EVENT_EXITED = 3 };

struct server {
	struct jailer *jailer;
	int fd, epoll_fd;
	struct child *children; /* pid 0: a free place */
	size_t child_capacity;
	size_t received; /* bytes in `request` */
	uint8_t request[HEADER_BYTES + PLAN_MAX_BYTES];
};

struct reply {
	uint8_t bytes[HEADER_BYTES + MAX_REPLY_BYTES];
	size_t length;
};

static uint32_t load_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t load_u64(const uint8_t *at)
{
	return (uint64_t)load_u32(at) | (uint64_t)load_u32(at + 4) << 32;
}

static void put_integer(struct reply *reply, uint64_t value, size_t bytes)
{
	for (; bytes > 0; bytes--, value >>= 8)
		reply->bytes[reply->length++] = (uint8_t)value;
}

/* With its NUL. The caller's text is bounded by the sizes in struct failure. */
static void put_text(struct reply *reply, const char *text)
{
	size_t length = strlen(text) + 1;
	memcpy(reply->bytes + reply->length, text, length);
	reply->length += length;
}

static void reply_open(struct reply *reply, uint32_t request_id, enum reply_type type)
{
	reply->length = 4;
	put_integer(reply, request_id, 4);
	put_integer(reply, type, 1);
}

static void reply_send(struct server *server, struct reply *reply)
{
	size_t total = reply->length;
	reply->length = 0;
	put_integer(reply, total - HEADER_BYTES, 4);
	for (size_t sent = 0; sent < total;) {
		ssize_t count = send(server->fd, reply->bytes + sent, total - sent, MSG_NOSIGNAL);
		if (count < 0 && errno != EINTR)
			_exit(0); /* the daemon is gone */
		sent += count < 0 ? 0 : (size_t)count;
	}
}

static void reply_ok(struct server *server, uint32_t request_id, const struct child *child)
{
	struct reply reply;
	reply_open(&reply, request_id, REPLY_OK);
	put_integer(&reply, (uint64_t)child->pid, 4);
	put_integer(&reply, child->start_ticks, 8);
	reply_send(server, &reply);
}

static void reply_error(struct server *server, uint32_t request_id, uint32_t op_index, uint32_t opcode,
			const struct failure *failure)
{
	struct reply reply;
	reply_open(&reply, request_id, REPLY_ERROR);
	put_integer(&reply, op_index, 4);
	put_integer(&reply, opcode, 4);
	put_integer(&reply, (uint64_t)failure->error, 4);
	put_integer(&reply, failure->phase, 1);
	put_text(&reply, failure->path);
	put_text(&reply, failure->message);
	reply_send(server, &reply);
}

static void reply_simple_error(struct server *server, uint32_t request_id, int error, const char *message)
{
	struct failure failure = {.phase = PHASE_DECODE, .error = error};
	strncpy(failure.message, message, sizeof failure.message - 1);
	reply_error(server, request_id, 0, 0, &failure);
}

/* A place in the table of children, or NULL without memory. */
static struct child *find_free_place(struct server *server)
{
	for (size_t i = 0; i < server->child_capacity; i++)
		if (server->children[i].pid == 0)
			return &server->children[i];
	size_t capacity = server->child_capacity == 0 ? 64 : server->child_capacity * 2;
	struct child *children = realloc(server->children, capacity * sizeof *children);
	if (children == NULL)
		return NULL;
	struct child *place = children + server->child_capacity;
	memset(place, 0, (capacity - server->child_capacity) * sizeof *children);
	server->children = children;
	server->child_capacity = capacity;
	return place;
}

/* The place is found before the launch, so that nothing can fail once the child runs. */
static void watch(struct server *server, struct child *place, struct child child)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)(place - server->children)};
	*place = child;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, child.pidfd, &event) < 0)
		die("watching a child", errno);
}

static int wait_status(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return (info->si_status & 0xff) << 8;
	return info->si_status | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

static uint64_t microseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* The wait status or -1 when nobody can tell. False: the child has not ended. */
static bool collect(const struct server *server, const struct child *child, int *status, struct rusage *usage)
{
	siginfo_t info = {0};
	if (child->adopted) {
		*status = find_wait_status(server->jailer, child);
		return true;
	}
	int error = sys_waitid(P_PIDFD, child->pidfd, &info, WEXITED | WNOHANG, usage);
	*status = error < 0 ? -1 : wait_status(&info);
	return error != -EINTR && (error < 0 || info.si_pid != 0);
}

/* The one place where running children are reaped. */
static void reap(struct server *server, struct child *child)
{
	struct rusage usage = {0};
	struct reply reply;
	int status;
	if (!collect(server, child, &status, &usage))
		return;
	reply_open(&reply, 0, EVENT_EXITED);
	put_integer(&reply, (uint64_t)child->pid, 4);
	put_integer(&reply, (uint64_t)(status < 0 ? UNKNOWN_STATUS : status), 4);
	put_integer(&reply, microseconds(usage.ru_utime), 8);
	put_integer(&reply, microseconds(usage.ru_stime), 8);
	put_integer(&reply, (uint64_t)usage.ru_maxrss, 8);
	put_integer(&reply, status >= 0, 1);
	/* Closing is not enough: a child that was cloned meanwhile may still share the descriptor. */
	epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, child->pidfd, NULL);
	close_fd(&child->pidfd);
	child->pid = 0;
	reply_send(server, &reply);
}

static struct child *find_child(struct server *server, uint32_t pid)
{
	for (size_t i = 0; i < server->child_capacity; i++)
		if (pid != 0 && (uint32_t)server->children[i].pid == pid)
			return &server->children[i];
	return NULL;
}

/* An adopted child's pid is free as soon as the host's init has reaped it: its exit is told before the pid is used. */
static void tell_former_exit(struct server *server, pid_t pid)
{
	struct child *former = find_child(server, (uint32_t)pid);
	if (former != NULL)
		reap(server, former);
}

static void handle_plan(struct server *server, uint32_t request_id, const uint8_t *bytes, size_t length)
{
	static struct plan plan;
	static struct launch launch;
	struct plan_fault fault;
	struct child *place = find_free_place(server);
	if (place == NULL) {
		reply_simple_error(server, request_id, ENOMEM, "no memory for another child");
		return;
	}
	if (!plan_decode(bytes, length, &plan, &fault) || !check_rules(server->jailer, &plan, &fault)) {
		struct failure failure = {.phase = PHASE_DECODE, .error = fault.error};
		strncpy(failure.message, fault.message, sizeof failure.message - 1);
		reply_error(server, request_id, fault.op_index, fault.opcode, &failure);
		return;
	}
	if (!launch_run(&launch, server->jailer, &plan)) {
		reply_error(server, request_id, launch.op_index, plan.ops[launch.op_index].spec->opcode,
			    &launch.failure);
		return;
	}
	if (launch.child.pid != 0) {
		tell_former_exit(server, launch.child.pid);
		note_start(server->jailer, &launch.child);
	}
	reply_ok(server, request_id, &launch.child);
	if (launch.child.pid != 0)
		watch(server, place, launch.child);
}

static void handle_kill(struct server *server, uint32_t request_id, const uint8_t *payload, size_t length)
{
	struct child *child = length == 8 ? find_child(server, load_u32(payload)) : NULL;
	int error = child == NULL ? -ESRCH : sys_pidfd_send_signal(child->pidfd, (int)load_u32(payload + 4));
	if (error == 0)
		reply_ok(server, request_id, child);
	else
		reply_simple_error(server, request_id, -error, "no such child, or no such signal");
}

/* u32 hostPid, u64 startTicks, the cgroup's path with its NUL. Whom we watch already may be asked for again. */
static void handle_watch(struct server *server, uint32_t request_id, const uint8_t *payload, size_t length)
{
	if (length <= 13 || payload[length - 1] != 0) {
		reply_simple_error(server, request_id, EINVAL, "not a process to watch");
		return;
	}
	struct child child = {.pid = (pid_t)load_u32(payload), .start_ticks = load_u64(payload + 4)};
	const char *cgroup = (const char *)payload + 12;
	const struct child *known = find_child(server, load_u32(payload));
	bool is_known = known != NULL && known->start_ticks == child.start_ticks;
	struct child *place = find_free_place(server);
	int error = -ENOMEM;
	if (is_known)
		error = check_cgroup(server->jailer, child.pid, cgroup);
	else if (place != NULL)
		error = adopt(server->jailer, &child, cgroup);
	if (error < 0) {
		reply_simple_error(server, request_id, -error, "no such sandbox");
		return;
	}
	if (!is_known)
		tell_former_exit(server, child.pid);
	reply_ok(server, request_id, &child);
	if (!is_known)
		watch(server, place, child);
}

static void handle_request(struct server *server, size_t payload_length)
{
	uint32_t request_id = load_u32(server->request + 4);
	const uint8_t *payload = server->request + HEADER_BYTES;
	switch (server->request[8]) {
	case REQUEST_PLAN:
		handle_plan(server, request_id, payload, payload_length);
		break;
	case REQUEST_KILL:
		handle_kill(server, request_id, payload, payload_length);
		break;
	case REQUEST_WATCH:
		handle_watch(server, request_id, payload, payload_length);
		break;
	default:
		reply_simple_error(server, request_id, EOPNOTSUPP, "no such request");
	}
}

/* Handles the whole requests at the front of the buffer and moves the rest to its beginning. */
static void handle_received(struct server *server)
{
	while (server->received >= HEADER_BYTES) {
		size_t length = load_u32(server->request);
		if (length > PLAN_MAX_BYTES)
			die("a request is too long", EMSGSIZE);
		size_t total = HEADER_BYTES + length;
		if (server->received < total)
			return;
		handle_request(server, length);
		server->received -= total;
		memmove(server->request, server->request + total, server->received);
	}
}

static void receive(struct server *server)
{
	ssize_t count = recv(server->fd, server->request + server->received,
			     sizeof server->request - server->received, MSG_DONTWAIT);
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count <= 0)
		_exit(0);
	server->received += (size_t)count;
	handle_received(server);
}

void serve(struct jailer *jailer, int fd)
{
	static struct server server;
	struct epoll_event client = {.events = EPOLLIN, .data.u64 = CLIENT_EVENT}, events[MAX_EVENTS];
	server.jailer = jailer;
	server.fd = fd;
	server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	/* What sandboxes inherit is decided by their plans. */
	if (server.epoll_fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    epoll_ctl(server.epoll_fd, EPOLL_CTL_ADD, fd, &client) < 0)
		die("the client's socket", errno);
	for (;;) {
		int count = epoll_wait(server.epoll_fd, events, MAX_EVENTS, -1);
		if (count < 0 && errno != EINTR)
			die("epoll_wait", errno);
		for (int i = 0; i < count; i++)
			if (events[i].data.u64 == CLIENT_EVENT)
				receive(&server);
			else if (server.children[events[i].data.u64].pid != 0)
				reap(&server, &server.children[events[i].data.u64]);
	}
}
