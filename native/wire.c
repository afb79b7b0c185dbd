// Encoding and decoding of the agent protocol's frames; wire.h has the contract.
#include "wire.h"

#include <string.h>

static uint64_t load_little_endian(const uint8_t *at, size_t width)
{
	uint64_t value = 0;
	for (size_t i = 0; i < width; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

static uint8_t *store_little_endian(uint8_t *at, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + width;
}

enum wire_scan wire_scan_frame(const uint8_t *bytes, size_t length, struct wire_header *header)
{
	if (length < WIRE_HEADER_BYTES)
		return WIRE_PARTIAL;
	header->length = (uint32_t)load_little_endian(bytes, 4);
	header->type = bytes[4];
	header->channel = (uint32_t)load_little_endian(bytes + 5, 4);
	if (header->length > WIRE_MAX_PAYLOAD)
		return WIRE_VIOLATION;
	return length - WIRE_HEADER_BYTES < header->length ? WIRE_PARTIAL : WIRE_FRAME;
}

struct wire_reader wire_read(uint8_t *payload, size_t length)
{
	return (struct wire_reader){.at = payload, .end = payload + length};
}

bool wire_is_complete(const struct wire_reader *reader)
{
	return !reader->bad && reader->at == reader->end;
}

// The next `length` bytes, or NULL and a bad reader.
static uint8_t *take(struct wire_reader *reader, size_t length)
{
	if (reader->bad || (size_t)(reader->end - reader->at) < length) {
		reader->bad = true;
		return NULL;
	}
	uint8_t *taken = reader->at;
	reader->at += length;
	return taken;
}

static uint64_t take_integer(struct wire_reader *reader, size_t width)
{
	const uint8_t *at = take(reader, width);
	return at ? load_little_endian(at, width) : 0;
}

uint8_t wire_take_u8(struct wire_reader *reader)
{
	return (uint8_t)take_integer(reader, 1);
}

uint16_t wire_take_u16(struct wire_reader *reader)
{
	return (uint16_t)take_integer(reader, 2);
}

uint32_t wire_take_u32(struct wire_reader *reader)
{
	return (uint32_t)take_integer(reader, 4);
}

uint64_t wire_take_u64(struct wire_reader *reader)
{
	return take_integer(reader, 8);
}

char *wire_take_text(struct wire_reader *reader, uint32_t max_bytes)
{
	static char empty[1];
	uint8_t *start = reader->at;
	uint32_t length = wire_take_u32(reader);
	if (length > max_bytes)
		reader->bad = true;
	const uint8_t *bytes = take(reader, length);
	if (!bytes || memchr(bytes, 0, length)) {
		reader->bad = true;
		return empty;
	}
	memmove(start, bytes, length);
	start[length] = 0; // inside the word: its length field made four bytes of room
	return (char *)start;
}

uint8_t *wire_put_u8(uint8_t *at, uint8_t value)
{
	return store_little_endian(at, value, 1);
}

uint8_t *wire_put_u16(uint8_t *at, uint16_t value)
{
	return store_little_endian(at, value, 2);
}

uint8_t *wire_put_u32(uint8_t *at, uint32_t value)
{
	return store_little_endian(at, value, 4);
}

uint8_t *wire_put_u64(uint8_t *at, uint64_t value)
{
	return store_little_endian(at, value, 8);
}

uint8_t *wire_put_bytes(uint8_t *at, const void *bytes, size_t length)
{
	if (length)
		memcpy(at, bytes, length);
	return at + length;
}

uint8_t *wire_put_word(uint8_t *at, const void *bytes, uint32_t length)
{
	return wire_put_bytes(wire_put_u32(at, length), bytes, length);
}

uint8_t *wire_put_header(uint8_t *at, struct wire_header header)
{
	return wire_put_u32(wire_put_u8(wire_put_u32(at, header.length), header.type), header.channel);
}
