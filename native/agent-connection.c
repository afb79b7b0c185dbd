// The client's socket and its two buffers. The agent outlives its clients: a new connection takes the place of the old
// one at once, for the old one's daemon may be gone without a word.
#define _GNU_SOURCE
#include "agent-connection.h"

#include "agent-process.h"
#include "agent-requests.h"
#include "agent-tunnel.h"
#include "agent-watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef AGENT_BUILD
#define AGENT_BUILD "0.1.0" // told in the hello
#endif

enum {
	INPUT_BYTES = WIRE_HEADER_BYTES + WIRE_MAX_PAYLOAD,
	// Two reads of the peer. More would only add to the time that a small frame waits behind a flood.
	OUTPUT_BYTES = 128 * 1024,
	// Pages of the buffers beyond this are given back to the kernel when a burst is over.
	KEPT_BYTES = 16 * 1024,
};

static struct watch listener = {.fd = -1}, client = {.fd = -1};
static bool is_greeted; // the client's HELLO has come

static struct {
	uint8_t bytes[INPUT_BYTES];
	size_t end;
} input;

static struct {
	_Alignas(4096) uint8_t bytes[OUTPUT_BYTES];
	size_t start, end;
	size_t highest; // for giving back what a burst has touched
	bool is_blocked; // the socket takes no more for now
} output;

static void close_client(void)
{
	if (client.fd < 0)
		return;
	watch_close(&client);
	input.end = 0;
	output.start = output.end = 0;
	output.is_blocked = is_greeted = false;
	processes_lose_client();
	tunnels_lose_client();
}

void connection_refuse(void)
{
	close_client();
}

// Only receives: frames are dispatched in connection_turn, when there is room for what they answer.
static void receive(struct watch *watch, uint32_t events)
{
	if (events & EPOLLOUT)
		output.is_blocked = false;
	if (input.end < INPUT_BYTES && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		ssize_t count = recv(watch->fd, input.bytes + input.end, INPUT_BYTES - input.end, 0);
		if (count > 0)
			input.end += (size_t)count;
		else if (count == 0 || (errno != EAGAIN && errno != EINTR))
			close_client();
	}
}

static void accept_client(struct watch *watch, uint32_t events)
{
	(void)events;
	int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	close_client();
	client = (struct watch){.fd = fd, .ready = receive};
	if (!watch_for(&client, EPOLLIN))
		close_client();
}

void connection_init(int listener_fd)
{
	listener = (struct watch){.fd = listener_fd, .ready = accept_client};
	if (!watch_for(&listener, EPOLLIN))
		_exit(1);
}

size_t connection_room(void)
{
	return client.fd < 0 ? 0 : OUTPUT_BYTES - output.end;
}

uint8_t *connection_put(enum wire_type type, uint32_t channel, uint32_t length)
{
	if (OUTPUT_BYTES - output.end < WIRE_HEADER_BYTES + (size_t)length)
		abort(); // a caller did not ask for room: a defect here, never something that a client can cause
	uint8_t *at = output.bytes + output.end;
	output.end += WIRE_HEADER_BYTES + length;
	return wire_put_header(at, (struct wire_header){.length = length, .type = (uint8_t)type, .channel = channel});
}

uint8_t *connection_next_payload(void)
{
	return output.bytes + output.end + WIRE_HEADER_BYTES;
}

void connection_put_empty(enum wire_type type, uint32_t channel)
{
	connection_put(type, channel, 0);
}

void connection_put_error(uint32_t channel, int error, const char *message)
{
	uint32_t length = (uint32_t)strnlen(message, CONNECTION_REPLY_BYTES / 4);
	uint8_t *at = connection_put(FRAME_ERROR, channel, 4 + 4 + length);
	wire_put_word(wire_put_u32(at, (uint32_t)error), message, length);
}

static bool greet(const struct wire_header *header, struct wire_reader *payload)
{
	static const char build[] = AGENT_BUILD;
	uint16_t version = wire_take_u16(payload);
	if (header->type != FRAME_HELLO || header->channel != 0 || !wire_is_complete(payload))
		return false;
	uint8_t *at = connection_put(FRAME_AGENT_HELLO, 0, 2 + 4 + 4 + sizeof build - 1);
	at = wire_put_u16(at, WIRE_VERSION);
	at = wire_put_u32(at, WIRE_MAX_PAYLOAD);
	wire_put_word(at, build, sizeof build - 1);
	// Another version is answered too, so that the client can say what it met; nothing else of it is understood.
	is_greeted = version == WIRE_VERSION;
	return true;
}

// False when the frame is a violation of the protocol.
static bool dispatch(const struct wire_header *header, uint8_t *bytes)
{
	struct wire_reader payload = wire_read(bytes, header->length);
	return is_greeted ? request_dispatch(header, &payload) : greet(header, &payload);
}

// Dispatches whole frames while replies fit; what is left moves to the front. False: nothing more can be done for now.
static bool take_frames(void)
{
	size_t at = 0;
	bool has_more = false;
	while (client.fd >= 0 && !processes_are_listing()) {
		struct wire_header header;
		enum wire_scan scan = wire_scan_frame(input.bytes + at, input.end - at, &header);
		has_more = scan == WIRE_FRAME;
		if (scan == WIRE_PARTIAL || (has_more && connection_room() < CONNECTION_REPLY_BYTES))
			break;
		if (scan == WIRE_VIOLATION || !dispatch(&header, input.bytes + at + WIRE_HEADER_BYTES)) {
			connection_refuse();
			return false;
		}
		at += WIRE_HEADER_BYTES + header.length;
	}
	if (at) {
		input.end -= at;
		memmove(input.bytes, input.bytes + at, input.end);
	}
	return has_more && !processes_are_listing();
}

static void send_output(void)
{
	while (!output.is_blocked && output.start < output.end) {
		ssize_t count = send(client.fd, output.bytes + output.start, output.end - output.start, MSG_NOSIGNAL);
		if (count >= 0) {
			output.start += (size_t)count;
		} else if (errno == EAGAIN) {
			output.is_blocked = true;
		} else if (errno != EINTR) {
			close_client();
			return;
		}
	}
	if (output.end > output.highest)
		output.highest = output.end;
	output.end -= output.start;
	if (output.start && output.end)
		memmove(output.bytes, output.bytes + output.start, output.end);
	output.start = 0;
}

static void give_back_memory(void)
{
	if (output.end || output.highest <= KEPT_BYTES)
		return;
	madvise(output.bytes + KEPT_BYTES, OUTPUT_BYTES - KEPT_BYTES, MADV_DONTNEED);
	output.highest = 0;
}

// Processes and tunnels come first by turns: whoever is first may fill the buffer.
static bool put_frames(void)
{
	static bool are_tunnels_first;
	are_tunnels_first = !are_tunnels_first;
	bool has_more = are_tunnels_first && tunnels_put_frames();
	has_more |= processes_put_frames();
	return (!are_tunnels_first && tunnels_put_frames()) || has_more;
}

bool connection_turn(void)
{
	if (client.fd < 0)
		return false;
	bool has_requests = take_frames();
	bool has_output = put_frames();
	send_output();
	if (client.fd < 0)
		return false;

	bool may_receive = input.end < INPUT_BYTES;
	if (!watch_for(&client, (may_receive ? EPOLLIN : 0) | (output.is_blocked ? EPOLLOUT : 0)))
		close_client();
	bool has_more = !output.is_blocked && (has_requests || has_output);
	if (!has_more)
		give_back_memory();
	return has_more;
}
