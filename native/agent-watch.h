// Descriptors that the agent waits for. A watch is embedded in what owns the descriptor.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct watch {
	int fd;		 // -1: closed
	uint32_t events; // what epoll has been told; 0: not in epoll
	void (*ready)(struct watch *watch, uint32_t events);
};

void watch_init(void);

// Changes what is waited for. 0 takes the descriptor out of epoll altogether, because EPOLLHUP and EPOLLERR cannot be
// masked: a paused pipe whose writer is gone would wake the loop for ever. False with errno ENOSPC or ENOMEM: the kernel
// does not take it, nothing has changed.
bool watch_for(struct watch *watch, uint32_t events);

// Out of epoll, closed, and not called any more, not even for an event that has already been received. May be repeated.
void watch_close(struct watch *watch);

// Waits (-1: for ever) and calls what is ready, once each. False when nothing was.
bool watch_dispatch(int timeout_ms);
