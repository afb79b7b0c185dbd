// The time, in ms.
#pragma once

#include <stdint.h>
#include <time.h>

static inline uint64_t now_ms(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
