// Reading ahead.
#include "agent-files-input.h"

#include "agent-files-reply.h"

#include <string.h>

enum { BUFFER_BYTES = 256 * 1024 };

static struct {
	uint8_t bytes[BUFFER_BYTES];
	size_t at, end;
	bool is_over;
} input;

size_t input_take_some(uint64_t size, const uint8_t **at)
{
	if (input.at == input.end && !input.is_over) {
		ssize_t count = data_read(input.bytes, sizeof input.bytes);
		input.is_over = count <= 0;
		input.at = 0;
		input.end = count > 0 ? (size_t)count : 0;
	}
	size_t available = input.end - input.at;
	size_t taken = size < available ? (size_t)size : available;
	*at = input.bytes + input.at;
	input.at += taken;
	return taken;
}

size_t input_take(void *bytes, size_t size)
{
	size_t taken = 0;
	while (taken < size) {
		const uint8_t *at;
		size_t count = input_take_some(size - taken, &at);
		if (!count)
			break;
		memcpy((uint8_t *)bytes + taken, at, count);
		taken += count;
	}
	return taken;
}

bool input_skip(uint64_t size)
{
	while (size) {
		const uint8_t *at;
		size_t count = input_take_some(size, &at);
		if (!count)
			return false;
		size -= count;
	}
	return true;
}
