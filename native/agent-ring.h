// A ring of the newest bytes of a stream, addressed by the stream's byte offsets. It grows as bytes come, up to its
// capacity; only then are the oldest bytes overwritten. Who may overwrite what is the caller's decision.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ring {
	uint8_t *bytes;
	uint32_t allocated; // size of `bytes`; the byte at offset o is bytes[o % allocated]
	uint32_t capacity;  // never grows beyond
	uint64_t end;	    // offset after the newest byte
};

// Allocates the first piece; false when there is no memory. Releases: ring_close.
bool ring_open(struct ring *ring, uint32_t capacity);
void ring_close(struct ring *ring);

uint64_t ring_start(const struct ring *ring); // offset of the oldest byte that is still there

// Contiguous space after the newest byte, at least one byte; commit tells how much of it was written. Bytes that
// lie `capacity` before it are overwritten.
uint32_t ring_writable(struct ring *ring, uint8_t **at);
void ring_commit(struct ring *ring, uint32_t written);
void ring_append(struct ring *ring, const void *bytes, uint32_t length);

// Contiguous bytes from `offset`, which lies between ring_start and end; 0 at the end.
uint32_t ring_readable(const struct ring *ring, uint64_t offset, const uint8_t **at);

// Gives back memory that the content does not need. Nothing may be written afterwards.
void ring_seal(struct ring *ring);
