// The output ring against a plain model of it.
#include "agent-ring.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8));
}

static void append_pattern(struct ring *ring, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++) {
		uint8_t byte = byte_at(ring->end);
		ring_append(ring, &byte, 1);
	}
}

// Everything from `offset` is the pattern, read in contiguous pieces.
static void check_content(const struct ring *ring, uint64_t offset)
{
	const uint8_t *at;
	for (uint32_t length; (length = ring_readable(ring, offset, &at)); offset += length)
		for (uint32_t i = 0; i < length; i++)
			assert(at[i] == byte_at(offset + i));
	assert(offset == ring->end);
}

static void keeps_everything_below_its_capacity(void)
{
	struct ring ring;
	assert(ring_open(&ring, 10000));
	for (int i = 0; i < 100; i++) {
		append_pattern(&ring, 100);
		assert(ring_start(&ring) == 0);
		check_content(&ring, 0);
	}
	ring_close(&ring);
}

static void keeps_the_newest_bytes_above_it(void)
{
	for (uint32_t capacity = 1; capacity < 6000; capacity = capacity * 3 + 1) {
		struct ring ring;
		assert(ring_open(&ring, capacity));
		append_pattern(&ring, capacity * 2 + 7);
		assert(ring_start(&ring) == ring.end - capacity);
		check_content(&ring, ring_start(&ring));
		check_content(&ring, ring.end);
		ring_close(&ring);
	}
}

static void writes_in_pieces_of_any_size(void)
{
	struct ring ring;
	assert(ring_open(&ring, 5000));
	srand(1);
	for (int i = 0; i < 20000; i++) {
		uint8_t *at;
		uint32_t size = ring_writable(&ring, &at);
		assert(size > 0);
		uint32_t length = (uint32_t)rand() % size + 1;
		for (uint32_t j = 0; j < length; j++)
			at[j] = byte_at(ring.end + j);
		ring_commit(&ring, length);
		if (i % 100 == 0)
			check_content(&ring, ring_start(&ring));
	}
	ring_close(&ring);
}

static void sealing_gives_memory_back_and_keeps_the_content(void)
{
	for (uint32_t length = 0; length < 9000; length += 500) {
		struct ring ring;
		assert(ring_open(&ring, 4096));
		append_pattern(&ring, length);
		uint64_t start = ring_start(&ring);
		ring_seal(&ring);
		assert(ring_start(&ring) == start);
		assert(ring.allocated == (length < 4096 ? length : 4096));
		check_content(&ring, start);
		ring_close(&ring);
	}
}

int main(void)
{
	keeps_everything_below_its_capacity();
	keeps_the_newest_bytes_above_it();
	writes_in_pieces_of_any_size();
	sealing_gives_memory_back_and_keeps_the_content();
	puts("agent-ring: ok");
}
