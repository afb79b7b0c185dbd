// Relaying between frames and descriptors.
#define _GNU_SOURCE
#include "agent-tunnel.h"

#include "agent-connection.h"
#include "agent-ring.h"
#include "agent-watch.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
	MAX_TUNNELS = 64,
	// A frame of 64 KiB with its header: so that whoever reads 64 KiB at a time gets whole frames.
	CHUNK_BYTES = WIRE_MAX_PAYLOAD - WIRE_HEADER_BYTES,
	GRANT_BYTES = TUNNEL_WINDOW_BYTES / 4,
	END_BYTES = 4 + 4,
	MAX_MESSAGE_BYTES = 200,
	// The most that one turn puts for a tunnel.
	TURN_BYTES = 3 * WIRE_HEADER_BYTES + 4 + CHUNK_BYTES + END_BYTES + MAX_MESSAGE_BYTES,
};

struct tunnel {
	struct watch watch; // first: a watch is converted to its tunnel
	uint32_t channel;   // 0: the slot is free
	struct tunnel_end end;
	bool is_readable; // the descriptor has bytes, or its end, and nobody has fetched them yet

	uint64_t credit; // bytes that the client still takes

	struct ring pending; // from the client, not yet written; without memory until it is needed
	uint64_t written;
	uint32_t owed; // bytes that were written and not granted again yet
	bool has_input_end, is_input_over;
};

static struct tunnel tunnels[MAX_TUNNELS];
static uint32_t open_count, next_turn;

static struct tunnel *find(uint32_t channel)
{
	for (uint32_t i = 0; open_count && i < MAX_TUNNELS; i++)
		if (tunnels[i].channel == channel)
			return &tunnels[i];
	return NULL;
}

bool tunnel_exists(uint32_t channel)
{
	return find(channel) != NULL;
}

static uint32_t waiting(const struct tunnel *tunnel)
{
	return (uint32_t)(tunnel->pending.end - tunnel->written);
}

void tunnel_refuse(uint32_t channel, int error, const char *message)
{
	uint32_t length = (uint32_t)strnlen(message, MAX_MESSAGE_BYTES);
	uint8_t *at = connection_put(FRAME_TUNNEL_END, channel, END_BYTES + length);
	wire_put_word(wire_put_u32(at, (uint32_t)error), message, length);
}

static void release(struct tunnel *tunnel)
{
	struct tunnel_end end = tunnel->end;
	watch_close(&tunnel->watch);
	ring_close(&tunnel->pending);
	*tunnel = (struct tunnel){.watch = {.fd = -1}};
	open_count--;
	end.closed(end.owner);
}

static void finish(struct tunnel *tunnel, int error)
{
	tunnel_refuse(tunnel->channel, error, error ? strerror(error) : "");
	release(tunnel);
}

// ---- client → descriptor -------------------------------------------------------------------------------------------

// Nobody reads any more: what comes is discarded, and granted, until the descriptor's own end tells why.
static void stop_writing(struct tunnel *tunnel)
{
	tunnel->owed += waiting(tunnel);
	tunnel->written = tunnel->pending.end;
	tunnel->is_input_over = true;
}

static uint32_t write_some(struct tunnel *tunnel, const uint8_t *bytes, uint32_t length)
{
	ssize_t count = send(tunnel->watch.fd, bytes, length, MSG_NOSIGNAL);
	if (count < 0 && errno != EAGAIN && errno != EINTR)
		stop_writing(tunnel);
	if (count <= 0)
		return 0;
	tunnel->owed += (uint32_t)count;
	return (uint32_t)count;
}

static void finish_input(struct tunnel *tunnel)
{
	if (tunnel->has_input_end && !tunnel->is_input_over && !waiting(tunnel)) {
		shutdown(tunnel->watch.fd, SHUT_WR);
		tunnel->is_input_over = true;
	}
}

static void write_pending(struct tunnel *tunnel)
{
	const uint8_t *bytes;
	uint32_t length = ring_readable(&tunnel->pending, tunnel->written, &bytes);
	if (length)
		tunnel->written += write_some(tunnel, bytes, length);
	finish_input(tunnel);
}

static bool keep(struct tunnel *tunnel, const uint8_t *bytes, uint32_t length)
{
	if (!tunnel->pending.bytes && !ring_open(&tunnel->pending, TUNNEL_WINDOW_BYTES))
		return false;
	ring_append(&tunnel->pending, bytes, length);
	return tunnel->pending.capacity == TUNNEL_WINDOW_BYTES; // or it could not grow, and has lost bytes
}

// Epoll is told what can be acted on: no more input while bytes wait to be fetched, or the loop would never sleep.
static bool update_watch(struct tunnel *tunnel)
{
	return watch_for(&tunnel->watch, (tunnel->is_readable ? 0 : EPOLLIN) | (waiting(tunnel) ? EPOLLOUT : 0));
}

bool tunnel_write(uint32_t channel, const uint8_t *bytes, uint32_t length)
{
	struct tunnel *tunnel = find(channel);
	if (!tunnel)
		return true;
	if (tunnel->has_input_end || length > TUNNEL_WINDOW_BYTES - waiting(tunnel) - tunnel->owed)
		return false;
	uint32_t taken = 0;
	if (!tunnel->is_input_over && !waiting(tunnel))
		taken = write_some(tunnel, bytes, length);
	if (tunnel->is_input_over)
		tunnel->owed += length - taken;
	else if (taken < length && !(keep(tunnel, bytes + taken, length - taken) && update_watch(tunnel)))
		finish(tunnel, ENOMEM);
	return true;
}

void tunnel_end_input(uint32_t channel)
{
	struct tunnel *tunnel = find(channel);
	if (!tunnel)
		return;
	tunnel->has_input_end = true;
	finish_input(tunnel);
}

// ---- descriptor → client -------------------------------------------------------------------------------------------

// One read of at most a frame. The kernel's copy goes to where the frame leaves from.
static void put_data(struct tunnel *tunnel)
{
	size_t size = tunnel->credit < CHUNK_BYTES ? (size_t)tunnel->credit : CHUNK_BYTES;
	ssize_t count = recv(tunnel->watch.fd, connection_next_payload(), size, 0);
	if (count > 0) {
		connection_put(FRAME_TUNNEL_DATA, tunnel->channel, (uint32_t)count);
		tunnel->credit -= (uint64_t)count;
	}
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		count = 1; // epoll tells when
	tunnel->is_readable = false;
	if (count <= 0)
		finish(tunnel, count < 0 ? errno : 0);
}

static void put_grant(struct tunnel *tunnel)
{
	// A quarter of a window at a time: few frames, and a client that has nothing under way can always send.
	if (tunnel->has_input_end || tunnel->owed < GRANT_BYTES)
		return;
	wire_put_u32(connection_put(FRAME_TUNNEL_GRANT, tunnel->channel, 4), tunnel->owed);
	tunnel->owed = 0;
}

void tunnel_add_credit(uint32_t channel, uint32_t bytes)
{
	struct tunnel *tunnel = find(channel);
	if (tunnel)
		tunnel->credit += bytes; // 64 bits: cannot overflow in the life of a machine
}

// False when there is no room for it now.
static bool take_turn(struct tunnel *tunnel)
{
	bool wants_to_read = tunnel->is_readable && tunnel->credit;
	if (connection_room() < TURN_BYTES)
		return !wants_to_read && tunnel->owed < GRANT_BYTES;
	put_grant(tunnel);
	if (wants_to_read)
		put_data(tunnel);
	return true;
}

bool tunnels_put_frames(void)
{
	bool has_more = false;
	uint32_t first = next_turn;
	for (uint32_t i = 0; open_count && i < MAX_TUNNELS; i++) {
		uint32_t slot = (first + i) % MAX_TUNNELS;
		struct tunnel *tunnel = &tunnels[slot];
		if (!tunnel->channel)
			continue;
		if (!take_turn(tunnel)) {
			if (!has_more)
				next_turn = slot; // first in line when there is room again
			has_more = true;
		}
		if (!tunnel->channel || update_watch(tunnel))
			continue;
		if (connection_room() >= TURN_BYTES)
			finish(tunnel, ENOMEM);
		else
			has_more = true;
	}
	return has_more;
}

// ---- opening and closing -------------------------------------------------------------------------------------------

static void on_ready(struct watch *watch, uint32_t events)
{
	struct tunnel *tunnel = (struct tunnel *)watch;
	if (events & EPOLLOUT)
		write_pending(tunnel);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		tunnel->is_readable = true;
}

bool tunnel_open(int fd, uint32_t channel, uint32_t credit, struct tunnel_end end)
{
	struct tunnel *tunnel = tunnels;
	while (tunnel < tunnels + MAX_TUNNELS && tunnel->channel)
		tunnel++;
	if (tunnel == tunnels + MAX_TUNNELS) {
		errno = EAGAIN;
		return false;
	}
	*tunnel = (struct tunnel){
		.watch = {.fd = fd, .ready = on_ready}, .channel = channel, .credit = credit, .end = end};
	if (!update_watch(tunnel)) {
		*tunnel = (struct tunnel){.watch = {.fd = -1}};
		return false;
	}
	open_count++;
	return true;
}

void tunnel_close(uint32_t channel)
{
	struct tunnel *tunnel = find(channel);
	if (tunnel)
		finish(tunnel, 0);
}

void tunnels_lose_client(void)
{
	for (uint32_t i = 0; open_count && i < MAX_TUNNELS; i++)
		if (tunnels[i].channel)
			release(&tunnels[i]);
}
