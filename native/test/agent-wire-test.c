// The frame decoder with good, short, long and random input. Buffers are of the exact size, so that the sanitizer sees every
// byte that is touched beyond.
#include "wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reads_what_was_written(void)
{
	uint8_t bytes[64];
	uint8_t *end = wire_put_u16(wire_put_u8(bytes, 0xfe), 0xabcd);
	end = wire_put_u64(wire_put_u32(end, 0xdeadbeef), 0x0123456789abcdef);
	end = wire_put_word(wire_put_word(end, "hello", 5), "", 0);

	struct wire_reader reader = wire_read(bytes, (size_t)(end - bytes));
	assert(wire_take_u8(&reader) == 0xfe && wire_take_u16(&reader) == 0xabcd);
	assert(wire_take_u32(&reader) == 0xdeadbeef && wire_take_u64(&reader) == 0x0123456789abcdef);
	assert(!wire_is_complete(&reader));
	const char *word = wire_take_text(&reader, 5), *empty = wire_take_text(&reader, 0);
	assert(strcmp(word, "hello") == 0 && strcmp(empty, "") == 0);
	assert(wire_is_complete(&reader));
}

static void a_short_field_is_bad_and_stays_bad(void)
{
	uint8_t *bytes = calloc(1, 3);
	struct wire_reader reader = wire_read(bytes, 3);
	assert(wire_take_u32(&reader) == 0 && reader.bad);
	assert(wire_take_u8(&reader) == 0 && !wire_is_complete(&reader));
	assert(strcmp(wire_take_text(&reader, 100), "") == 0);
	free(bytes);
}

static void refuse_text(const void *content, size_t size, uint32_t max_bytes)
{
	uint8_t *bytes = malloc(size);
	memcpy(bytes, content, size);
	struct wire_reader reader = wire_read(bytes, size);
	assert(strcmp(wire_take_text(&reader, max_bytes), "") == 0 && reader.bad);
	free(bytes);
}

static void text_is_bounded_and_without_nul(void)
{
	refuse_text("\4\0\0\0abc", 7, 100);		 // longer than the payload
	refuse_text("\377\377\377\377abc", 7, UINT32_MAX); // so long that a sum would overflow
	refuse_text("\3\0\0\0abc", 7, 2);		 // longer than the caller takes
	refuse_text("\3\0\0\0a\0c", 7, 100);
	refuse_text("\3\0", 2, 100);
}

static void headers_are_found_only_when_whole(void)
{
	struct wire_header header, frame = {.length = 3, .type = FRAME_STDIN, .channel = 0x01020304};
	uint8_t bytes[WIRE_HEADER_BYTES + 3] = {0};
	wire_put_header(bytes, frame);
	for (size_t length = 0; length < sizeof bytes; length++)
		assert(wire_scan_frame(bytes, length, &header) == WIRE_PARTIAL);
	assert(wire_scan_frame(bytes, sizeof bytes, &header) == WIRE_FRAME);
	assert(header.length == 3 && header.type == FRAME_STDIN && header.channel == 0x01020304);
	frame.length = WIRE_MAX_PAYLOAD + 1;
	wire_put_header(bytes, frame);
	assert(wire_scan_frame(bytes, sizeof bytes, &header) == WIRE_VIOLATION);
}

static void random_payloads_are_never_read_beyond(void)
{
	srand(1);
	for (int round = 0; round < 20000; round++) {
		size_t size = (size_t)rand() % 64;
		uint8_t *bytes = malloc(size ? size : 1);
		for (size_t i = 0; i < size; i++)
			bytes[i] = (uint8_t)(rand() % 4 ? rand() % 8 : rand());
		struct wire_reader reader = wire_read(bytes, size);
		while (!reader.bad && reader.at < reader.end) {
			switch (rand() % 4) {
			case 0: wire_take_u8(&reader); break;
			case 1: wire_take_u16(&reader); break;
			case 2: wire_take_u64(&reader); break;
			default: assert(strlen(wire_take_text(&reader, 32)) <= 32);
			}
		}
		free(bytes);
	}
}

int main(void)
{
	reads_what_was_written();
	a_short_field_is_bad_and_stays_bad();
	text_is_bounded_and_without_nul();
	headers_are_found_only_when_whole();
	random_payloads_are_never_read_beyond();
	puts("agent-wire: ok");
}
