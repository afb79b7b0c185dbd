// Reading, pausing and finishing of output streams.
#include "agent-output.h"

#include "agent-process.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	READ_BYTES = 64 * 1024,	     // one turn's share of one stream; also a pipe's size
	TERMINAL_LEFT = 128 * 1024,  // a terminal cannot say how much it holds; the kernel buffers less
	MAX_SINKS = 256,
	SINK_READ_BYTES = 4096,
};

// Pipes whose process has exited and which something that it left in the background still writes to. They are read and
// discarded, so that `server &` does not die of SIGPIPE with the shell that started it. When there are too many, the
// oldest is closed.
static struct {
	struct watch watches[MAX_SINKS];
	uint32_t next;
} sinks;

static void discard(struct watch *sink, uint32_t events)
{
	char bytes[SINK_READ_BYTES];
	(void)events;
	ssize_t count = read(sink->fd, bytes, sizeof bytes);
	if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR))
		watch_close(sink);
}

static void sink_adopt(int fd)
{
	struct watch *sink = &sinks.watches[sinks.next];
	sinks.next = (sinks.next + 1) % MAX_SINKS;
	if (sink->ready) // a slot that was never used has fd 0
		watch_close(sink);
	*sink = (struct watch){.fd = fd, .ready = discard};
	if (!watch_for(sink, EPOLLIN))
		watch_close(sink);
}

// How many bytes may come into the ring without overwriting what a holding reader may still want.
static uint32_t room(const struct output *output)
{
	const struct process *process = output->process;
	uint32_t capacity = output->ring.capacity;
	uint64_t held = output->ring.end - readers_need_from(process, (int)(output - process->output));
	return held < capacity ? (uint32_t)(capacity - held) : 0;
}

static void end(struct output *output)
{
	output->is_drained = true;
	process_check_drained(output->process);
}

static void release_descriptor(struct output *output)
{
	if (output->watch.fd < 0)
		return;
	if (output->process->is_terminal) {
		watch_close(&output->watch);
		return;
	}
	int fd = output->watch.fd;
	watch_for(&output->watch, 0);
	output->watch.fd = -1;
	sink_adopt(fd);
}

// One read. Afterwards the stream is as it was, paused, or drained.
static void read_once(struct output *output)
{
	bool is_finishing = output->process->state != PROCESS_RUNNING;
	uint8_t *at;
	uint32_t size = ring_writable(&output->ring, &at);
	uint32_t limits[] = {room(output), READ_BYTES, is_finishing ? output->left : READ_BYTES};
	for (int i = 0; i < 3; i++)
		size = limits[i] < size ? limits[i] : size;
	if (!size) {
		watch_for(&output->watch, 0); // paused until output_resume
		return;
	}

	ssize_t count = read(output->watch.fd, at, size);
	if (count > 0) {
		ring_commit(&output->ring, (uint32_t)count);
		process_mark_ready(output->process);
		output->left -= is_finishing ? (uint32_t)count : 0;
		if (is_finishing && !output->left) {
			release_descriptor(output);
			end(output);
		}
		return;
	}
	if (count < 0 && errno == EINTR)
		return;
	if (count < 0 && errno == EAGAIN) {
		if (!is_finishing)
			return;
		release_descriptor(output);
	} else {
		watch_close(&output->watch); // end of file; of a terminal: EIO
	}
	end(output);
}

static void on_ready(struct watch *watch, uint32_t events)
{
	(void)events;
	read_once((struct output *)watch);
}

bool output_open(struct output *output, struct process *process, int fd, uint32_t ring_bytes)
{
	*output = (struct output){.watch = {.fd = fd, .ready = on_ready}, .process = process, .is_drained = fd < 0};
	if (fd < 0)
		return true;
	if (ring_open(&output->ring, ring_bytes) && watch_for(&output->watch, EPOLLIN))
		return true;
	int error = errno;
	ring_close(&output->ring);
	output->watch.fd = -1;
	errno = error;
	return false;
}

void output_close(struct output *output)
{
	watch_close(&output->watch);
	ring_close(&output->ring);
}

void output_resume(struct output *output)
{
	uint32_t enough = output->ring.capacity / 4 < READ_BYTES ? output->ring.capacity / 4 : READ_BYTES;
	if (output->watch.fd < 0 || output->watch.events || room(output) < enough)
		return;
	if (!watch_for(&output->watch, EPOLLIN)) {
		watch_close(&output->watch); // the kernel has no room to watch it: better a broken pipe than a hang
		end(output);
	}
}

void output_finish(struct output *output)
{
	int held = 0;
	if (output->watch.fd < 0)
		return;
	if (output->process->is_terminal)
		output->left = TERMINAL_LEFT;
	else
		// One more than there is, so that the end of the file is seen if it is there.
		output->left = ioctl(output->watch.fd, FIONREAD, &held) == 0 ? (uint32_t)held + 1 : READ_BYTES;
	if (!output->watch.events)
		return; // paused: goes on when readers have made room
	while (!output->is_drained && output->watch.events)
		read_once(output);
}

void output_append(struct output *output, const char *text)
{
	if (output->ring.bytes)
		ring_append(&output->ring, text, (uint32_t)strlen(text));
}
