// The one client: accepting it, its frames in, its frames out. Every frame that comes in is dispatched to
// agent-requests.c. Both buffers have a fixed size and never overflow: requests are taken only while there is room for
// their replies, and output is put only where connection_room says so.
#pragma once

#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	// The most that one request may put at once, headers included: two frames of a fixed size, or two ERRORs.
	CONNECTION_REPLY_BYTES = 1024,
};

void connection_init(int listener_fd);

// Puts a frame's header and returns where its `length` bytes of payload go.
uint8_t *connection_put(enum wire_type type, uint32_t channel, uint32_t length);
// Where the payload of the frame that is put next will be, for who fills it first and knows its length afterwards.
uint8_t *connection_next_payload(void);
void connection_put_empty(enum wire_type type, uint32_t channel);
void connection_put_error(uint32_t channel, int error, const char *message);

size_t connection_room(void); // bytes that may be put now, headers included; 0 without a client

// Parses what has come, asks for output, and sends. Once per turn of the main loop; true when there is more to do at
// once.
bool connection_turn(void);

// Closes the client for a violation of the protocol. Processes go on.
void connection_refuse(void);
