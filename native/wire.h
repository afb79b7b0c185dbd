// The words of the agent protocol on the wire: bounded reading of a frame's payload and writing of little-endian
// integers. Nothing here allocates. A reader that meets a short or malformed field turns `bad` and stays so; callers
// take all fields of a frame first and look at `bad` (or wire_is_complete) once.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WIRE_VERSION = 2,
	WIRE_HEADER_BYTES = 9,	   // u32 payload length, u8 type, u32 channel
	WIRE_MAX_PAYLOAD = 65536,  // larger lengths are a violation of the protocol, in both directions
};

// Frame types; src/agent/frames.ts lists the same numbers.
enum wire_type {
	FRAME_HELLO = 0x01,
	FRAME_START = 0x10,
	FRAME_ATTACH = 0x11,
	FRAME_STDIN = 0x12,
	FRAME_STDIN_CLOSE = 0x13,
	FRAME_SIGNAL = 0x14,
	FRAME_RESIZE = 0x15,
	FRAME_CREDIT = 0x16,
	FRAME_DETACH = 0x17,
	FRAME_FORGET = 0x18,
	FRAME_LIST = 0x19,
	FRAME_STDIN_OPEN = 0x1a,
	FRAME_FILES = 0x20,
	FRAME_TUNNEL_WRITE = 0x22,
	FRAME_TUNNEL_WRITE_END = 0x23,
	FRAME_TUNNEL_CREDIT = 0x24,
	FRAME_TUNNEL_CLOSE = 0x25,
	FRAME_AGENT_HELLO = 0x80,
	FRAME_STARTED = 0x81,
	FRAME_ERROR = 0x82,
	FRAME_OUTPUT = 0x83,
	FRAME_EXIT = 0x84,
	FRAME_STDIN_CREDIT = 0x85,
	FRAME_PROCESS = 0x86,
	FRAME_DONE = 0x87,
	FRAME_OK = 0x88,
	FRAME_TUNNEL_DATA = 0x90,
	FRAME_TUNNEL_GRANT = 0x91,
	FRAME_TUNNEL_END = 0x92,
};

struct wire_header {
	uint32_t length;
	uint8_t type;
	uint32_t channel;
};

struct wire_reader {
	uint8_t *at;
	uint8_t *end;
	bool bad;
};

// What a buffer of received bytes begins with.
enum wire_scan {
	WIRE_PARTIAL,	// more bytes are needed
	WIRE_FRAME,	// `header` is filled and its whole payload is there
	WIRE_VIOLATION, // a length above WIRE_MAX_PAYLOAD
};

enum wire_scan wire_scan_frame(const uint8_t *bytes, size_t length, struct wire_header *header);

struct wire_reader wire_read(uint8_t *payload, size_t length);
bool wire_is_complete(const struct wire_reader *reader); // nothing bad and nothing left over

uint8_t wire_take_u8(struct wire_reader *reader);
uint16_t wire_take_u16(struct wire_reader *reader);
uint32_t wire_take_u32(struct wire_reader *reader);
uint64_t wire_take_u64(struct wire_reader *reader);

// A word as a C string of at most `max_bytes`; embedded NUL is bad. The string is made inside the payload, by moving
// it over its own length field, so it lives as long as the payload. Never returns NULL: "" when the reader is bad.
char *wire_take_text(struct wire_reader *reader, uint32_t max_bytes);

// Writers return the position after what they wrote; the caller has reserved the space.
uint8_t *wire_put_u8(uint8_t *at, uint8_t value);
uint8_t *wire_put_u16(uint8_t *at, uint16_t value);
uint8_t *wire_put_u32(uint8_t *at, uint32_t value);
uint8_t *wire_put_u64(uint8_t *at, uint64_t value);
uint8_t *wire_put_bytes(uint8_t *at, const void *bytes, size_t length);
uint8_t *wire_put_word(uint8_t *at, const void *bytes, uint32_t length);
uint8_t *wire_put_header(uint8_t *at, struct wire_header header);
