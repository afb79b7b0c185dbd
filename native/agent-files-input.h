// The client's data in pieces of any size, read ahead in one buffer.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// At most `size` bytes of what comes next, which stay at *at until the next call; 0 at the end.
size_t input_take_some(uint64_t size, const uint8_t **at);

size_t input_take(void *bytes, size_t size); // less than `size` only at the end
bool input_skip(uint64_t size);		     // false: it ended before
