/* The agent's side of the protocol: the input is what a client sends. Connection, requests, processes, streams, terminals
 * and tunnels are the agent's own; what they meet is played here: the children, the other ends of tunnels, and the clock.
 *
 * Input: one byte (1: HELLO goes before, 2: the client reads nothing, 4: it sends in small pieces), then the frames. */
#include "agent-connection.h"
#include "agent-files.h"
#include "agent-process.h"
#include "agent-records.h"
#include "agent-spawn.h"
#include "agent-tunnel.h"
#include "agent-watch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	SENDS_HELLO = 1,
	READS_NOTHING = 2,
	SENDS_PIECES = 4,

	PIECE_BYTES = 19,
	MAX_ROUNDS = 400,
	LAST_ROUNDS = 8, // after the last byte
	ROUND_MS = 10,
	MAX_CHILDREN = 24,
	MAX_PEERS = 8,
	FIRST_PID = 0x40000000, // beyond what the kernel gives
	FLOOD_BYTES = 5000,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* ---- the clock ---------------------------------------------------------------------------------------------------- */

static uint64_t monotonic_ms = 1000; // what the agent's deadlines go by; the fuzzer itself has the other clock

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (clock != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, clock, now);
	now->tv_sec = (time_t)(monotonic_ms / 1000);
	now->tv_nsec = (long)(monotonic_ms % 1000) * 1000000;
	return 0;
}

/* ---- children ----------------------------------------------------------------------------------------------------- */

/* What a child does is the first letter of its name: f floods, r reads its stdin and prints as much, c closes its streams,
 * x exits, b exits and leaves a flood behind; whatever else sleeps. All print one pattern, so that every byte has one right
 * value wherever it is read. */
static struct child {
	bool exists, has_exited;
	char kind;
	int wait_status; // when it is to die; -1: not yet
	int fds[3];
	uint64_t printed[2];
} children[MAX_CHILDREN];

static bool has_terminal; // which changes what is printed

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 7 + offset / 251);
}

static int duplicate(int fd)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy >= 0)
		check(fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK) == 0);
	return copy;
}

void spawn_init(void)
{
}

int spawn_exit_code(const struct spawn_failure *failure)
{
	return failure->error == ENOENT ? 127 : 126;
}

pid_t spawn(const struct spawn_request *request, struct spawn_failure *failure)
{
	struct child *child = children;
	while (child < children + MAX_CHILDREN && child->exists)
		child++;
	errno = EAGAIN;
	if (child == children + MAX_CHILDREN)
		return -1;
	*child = (struct child){.exists = true, .kind = request->argv[0][0], .wait_status = -1};
	*failure = (struct spawn_failure){0};
	if (child->kind == '!') {
		*failure = (struct spawn_failure){.step = "exec", .subject = request->argv[0], .error = ENOENT};
		child->wait_status = 127 << 8;
	}
	for (int i = 0; i < 3; i++)
		child->fds[i] = duplicate(request->stdio[i]);
	has_terminal |= request->is_terminal;
	return FIRST_PID + (pid_t)(child - children);
}

int kill(pid_t pid, int signal_number)
{
	int64_t slot = (pid < 0 ? -(int64_t)pid : pid) - FIRST_PID;
	if (slot < 0 || slot >= MAX_CHILDREN || !children[slot].exists || children[slot].has_exited) {
		errno = ESRCH;
		return -1;
	}
	if (signal_number == SIGKILL || signal_number == SIGTERM)
		children[slot].wait_status = signal_number;
	return 0;
}

static void print(struct child *child, int stream, size_t length)
{
	uint8_t bytes[FLOOD_BYTES];
	uint64_t *printed = &child->printed[stream];
	for (size_t i = 0; i < length; i++)
		bytes[i] = pattern(*printed + i);
	ssize_t count = child->fds[1 + stream] < 0 ? 0 : write(child->fds[1 + stream], bytes, length);
	if (count > 0)
		*printed += (uint64_t)count;
}

static void close_streams(struct child *child)
{
	for (int i = 0; i < 3; i++) {
		if (child->fds[i] >= 0)
			close(child->fds[i]);
		child->fds[i] = -1;
	}
}

static void play(struct child *child)
{
	uint8_t bytes[FLOOD_BYTES];
	ssize_t count;
	switch (child->kind) {
	case 'f':
	case 'b':
		print(child, 0, FLOOD_BYTES);
		print(child, 1, FLOOD_BYTES);
		break;
	case 'r':
		count = child->fds[0] < 0 ? 0 : read(child->fds[0], bytes, sizeof bytes);
		if (count > 0)
			print(child, 0, (size_t)count);
		break;
	case 'c':
		close_streams(child);
		break;
	}
	if ((child->kind == 'x' || child->kind == 'b') && child->wait_status < 0)
		child->wait_status = 3 << 8;
}

static void reap(struct child *child)
{
	static const struct rusage usage;
	if (child->wait_status < 0 || child->has_exited)
		return;
	child->has_exited = true;
	if (child->kind != 'b')
		close_streams(child);
	processes_note_exit(FIRST_PID + (pid_t)(child - children), child->wait_status, &usage);
	child->exists = child->kind == 'b';
}

/* ---- the other ends of tunnels ------------------------------------------------------------------------------------ */

static int peers[MAX_PEERS] = {-1, -1, -1, -1, -1, -1, -1, -1};
static uint32_t open_tunnels;

static void on_tunnel_closed(void *owner)
{
	check(owner == peers && open_tunnels > 0);
	open_tunnels--;
}

void files_open(uint32_t channel, uint32_t credit, const uint8_t *request, uint32_t length)
{
	int ends[2], slot = 0;
	const struct tunnel_end end = {.closed = on_tunnel_closed, .owner = peers};
	while (slot < MAX_PEERS && peers[slot] >= 0)
		slot++;
	if (slot == MAX_PEERS) {
		tunnel_refuse(channel, EAGAIN, "too many");
		return;
	}
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	check(length == 0 || send(ends[1], request, length, MSG_NOSIGNAL) == (ssize_t)length);
	check(tunnel_open(ends[0], channel, credit, end));
	open_tunnels++;
	peers[slot] = ends[1];
}

/* Gives back what it gets, and ends when there is no more. */
static void play_peer(int *peer)
{
	uint8_t bytes[FLOOD_BYTES];
	ssize_t count = recv(*peer, bytes, sizeof bytes, MSG_PEEK);
	if (count > 0)
		count = send(*peer, bytes, (size_t)count, MSG_NOSIGNAL);
	if (count > 0)
		check(recv(*peer, bytes, (size_t)count, 0) == count);
	if (count > 0 || (count < 0 && errno == EAGAIN))
		return;
	close(*peer);
	*peer = -1;
}

/* ---- the client --------------------------------------------------------------------------------------------------- */

static struct {
	int fd;
	uint8_t bytes[2 * (WIRE_HEADER_BYTES + WIRE_MAX_PAYLOAD)];
	size_t end;
} client;

static void check_output(struct wire_reader *payload)
{
	uint8_t stream = wire_take_u8(payload);
	uint64_t offset = wire_take_u64(payload);
	check(!payload->bad && (stream == 1 || stream == 2) && payload->at < payload->end);
	for (const uint8_t *at = payload->at; at < payload->end && stream == 1 && !has_terminal; at++)
		check(*at == pattern(offset++));
}

static void check_frame(const struct wire_header *header, uint8_t *bytes)
{
	struct wire_reader payload = wire_read(bytes, header->length);
	bool is_known = (header->type >= FRAME_AGENT_HELLO && header->type <= FRAME_OK) ||
			(header->type >= FRAME_TUNNEL_DATA && header->type <= FRAME_TUNNEL_END);
	check(is_known && (header->channel == 0) == (header->type == FRAME_AGENT_HELLO));
	if (header->type == FRAME_OUTPUT)
		check_output(&payload);
}

static void read_frames(void)
{
	struct wire_header header;
	ssize_t count = recv(client.fd, client.bytes + client.end, sizeof client.bytes - client.end, 0);
	client.end += count > 0 ? (size_t)count : 0;
	size_t at = 0;
	for (;;) {
		enum wire_scan scan = wire_scan_frame(client.bytes + at, client.end - at, &header);
		check(scan != WIRE_VIOLATION);
		if (scan == WIRE_PARTIAL)
			break;
		check_frame(&header, client.bytes + at + WIRE_HEADER_BYTES);
		at += WIRE_HEADER_BYTES + header.length;
	}
	client.end -= at;
	memmove(client.bytes, client.bytes + at, client.end);
}

static void connect_client(void)
{
	static struct sockaddr_un address = {.sun_family = AF_UNIX};
	static socklen_t size;
	if (!size) {
		int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		size = sizeof address;
		// A name that the kernel gives.
		check(bind(listener, (struct sockaddr *)&address, sizeof address.sun_family) == 0);
		check(getsockname(listener, (struct sockaddr *)&address, &size) == 0 && listen(listener, 4) == 0);
		watch_init();
		connection_init(listener);
		signal(SIGPIPE, SIG_IGN);
	}
	client.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	client.end = 0;
	check(connect(client.fd, (struct sockaddr *)&address, size) == 0);
	check(fcntl(client.fd, F_SETFL, O_NONBLOCK) == 0);
}

/* ---- one input ---------------------------------------------------------------------------------------------------- */

static void run_round(void)
{
	connection_turn();
	processes_enforce_deadlines();
	watch_dispatch(0);
	for (struct child *child = children; child < children + MAX_CHILDREN; child++) {
		if (!child->exists)
			continue;
		play(child);
		reap(child);
	}
	for (int i = 0; i < MAX_PEERS; i++)
		if (peers[i] >= 0)
			play_peer(&peers[i]);
	monotonic_ms += ROUND_MS;
}

static bool send_some(const uint8_t **bytes, size_t *left, size_t most)
{
	size_t size = *left < most ? *left : most;
	ssize_t count = size ? send(client.fd, *bytes, size, MSG_NOSIGNAL) : 0;
	if (count < 0 && errno != EAGAIN)
		return false; // it was refused
	*bytes += count > 0 ? count : 0;
	*left -= count > 0 ? (size_t)count : 0;
	return true;
}

static void talk(const uint8_t *bytes, size_t left, uint8_t mode)
{
	size_t most = mode & SENDS_PIECES ? PIECE_BYTES : left;
	int rounds_left = LAST_ROUNDS;
	for (int round = 0; round < MAX_ROUNDS && rounds_left; round++) {
		bool is_open = send_some(&bytes, &left, most);
		if (!is_open || !left)
			rounds_left--;
		run_round();
		if (!(mode & READS_NOTHING))
			read_frames();
	}
}

/* Everything ends, and nothing of it may be left. */
static void clear(void)
{
	close(client.fd);
	run_round();
	monotonic_ms += UINT32_MAX; // the longest orphan time
	for (struct child *child = children; child < children + MAX_CHILDREN; child++) {
		if (!child->exists)
			continue;
		if (child->has_exited)
			close_streams(child);
		child->exists = !child->has_exited;
		child->kind = 'x';
	}
	for (int i = 0; i < MAX_PEERS; i++)
		if (peers[i] >= 0)
			close(peers[i]);
	memset(peers, -1, sizeof peers);
	for (int round = 0; round < 200 && records_oldest(); round++) {
		run_round();
		while (records_oldest() && process_forget(records_oldest()) == 0)
			;
	}
	check(!records_oldest() && !open_tunnels);
	has_terminal = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	uint8_t hello[WIRE_HEADER_BYTES + 2];
	if (!length)
		return 0;
	uint8_t mode = bytes[0];
	connect_client();
	run_round();
	const struct wire_header header = {.length = 2, .type = FRAME_HELLO, .channel = 0};
	wire_put_u16(wire_put_header(hello, header), WIRE_VERSION);
	if (mode & SENDS_HELLO)
		check(send(client.fd, hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello);
	talk(bytes + 1, length - 1, mode);
	clear();
	return 0;
}
