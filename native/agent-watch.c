// One epoll set, level-triggered.
#include "agent-watch.h"

#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 64 };

static int epoll_fd = -1;
static struct epoll_event batch[BATCH];
static int batch_at, batch_count; // events from batch_at on have not been delivered

void watch_init(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		_exit(1);
}

static void forget_received_events(const struct watch *watch)
{
	for (int i = batch_at; i < batch_count; i++)
		if (batch[i].data.ptr == watch)
			batch[i].data.ptr = NULL;
}

bool watch_for(struct watch *watch, uint32_t events)
{
	if (watch->events == events)
		return true;
	int op = !events ? EPOLL_CTL_DEL : watch->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	struct epoll_event event = {.events = events, .data.ptr = watch};
	if (epoll_ctl(epoll_fd, op, watch->fd, &event) < 0 && events)
		return false;
	watch->events = events;
	if (!events)
		forget_received_events(watch);
	return true;
}

void watch_close(struct watch *watch)
{
	if (watch->fd < 0)
		return;
	// Not left to close(): somebody else may hold the same open file, and then epoll keeps reporting it.
	watch_for(watch, 0);
	close(watch->fd);
	watch->fd = -1;
}

bool watch_dispatch(int timeout_ms)
{
	int count = epoll_wait(epoll_fd, batch, BATCH, timeout_ms);
	batch_count = count > 0 ? count : 0;
	for (batch_at = 0; batch_at < batch_count;) {
		const struct epoll_event event = batch[batch_at++];
		struct watch *watch = event.data.ptr;
		if (watch)
			watch->ready(watch, event.events);
	}
	batch_count = 0;
	return count > 0;
}
