// The output ring. While `allocated` is below `capacity` nothing has ever wrapped: the content is bytes[0..end), so
// growing is a plain realloc and most processes never use more than the first piece.
#include "agent-ring.h"

#include <stdlib.h>
#include <string.h>

enum {
	FIRST_BYTES = 1024, // what a typical short command prints fits
	GROWTH = 4,
};

bool ring_open(struct ring *ring, uint32_t capacity)
{
	uint32_t first = capacity < FIRST_BYTES ? capacity : FIRST_BYTES;
	*ring = (struct ring){.bytes = malloc(first), .allocated = first, .capacity = capacity};
	return ring->bytes != NULL;
}

void ring_close(struct ring *ring)
{
	free(ring->bytes);
	*ring = (struct ring){0};
}

uint64_t ring_start(const struct ring *ring)
{
	return ring->end > ring->allocated ? ring->end - ring->allocated : 0;
}

static void grow(struct ring *ring)
{
	uint64_t wanted = (uint64_t)ring->allocated * GROWTH;
	uint32_t size = wanted < ring->capacity ? (uint32_t)wanted : ring->capacity;
	uint8_t *bytes = realloc(ring->bytes, size);
	if (!bytes) {
		ring->capacity = ring->allocated; // no memory: from here on this is all the ring there is
		return;
	}
	ring->bytes = bytes;
	ring->allocated = size;
}

uint32_t ring_writable(struct ring *ring, uint8_t **at)
{
	if (ring->end == ring->allocated && ring->allocated < ring->capacity)
		grow(ring);
	uint32_t position = (uint32_t)(ring->end % ring->allocated);
	*at = ring->bytes + position;
	return ring->allocated - position;
}

void ring_commit(struct ring *ring, uint32_t written)
{
	ring->end += written;
}

void ring_append(struct ring *ring, const void *bytes, uint32_t length)
{
	const uint8_t *from = bytes;
	while (length) {
		uint8_t *at;
		uint32_t piece = ring_writable(ring, &at);
		if (piece > length)
			piece = length;
		memcpy(at, from, piece);
		ring_commit(ring, piece);
		from += piece;
		length -= piece;
	}
}

uint32_t ring_readable(const struct ring *ring, uint64_t offset, const uint8_t **at)
{
	if (offset == ring->end)
		return 0;
	uint32_t position = (uint32_t)(offset % ring->allocated);
	uint64_t to_end = ring->end - offset;
	uint32_t to_wrap = ring->allocated - position;
	*at = ring->bytes + position;
	return to_end < to_wrap ? (uint32_t)to_end : to_wrap;
}

void ring_seal(struct ring *ring)
{
	if (ring->end >= ring->allocated)
		return; // full, or wrapped: every byte is content
	uint32_t size = (uint32_t)ring->end;
	if (!size) {
		free(ring->bytes);
		ring->bytes = NULL;
		ring->allocated = 0;
		return;
	}
	uint8_t *bytes = realloc(ring->bytes, size);
	if (!bytes)
		return;
	ring->bytes = bytes;
	ring->allocated = size;
}
