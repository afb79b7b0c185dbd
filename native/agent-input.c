// Non-blocking writing to stdin, with credit.
#include "agent-input.h"

#include "agent-process.h"
#include "agent-pty.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

static uint32_t buffered(const struct input *input)
{
	return (uint32_t)(input->buffer.end - input->written);
}

// The other end is gone, or everything was said: nothing is written any more, and what comes is discarded.
static void stop_writing(struct input *input)
{
	input->owed += buffered(input);
	input->written = input->buffer.end;
	watch_close(&input->watch);
	process_mark_ready(input->process);
}

static void finish(struct input *input)
{
	if (input->is_terminal) {
		uint8_t end_of_file = pty_end_of_file(input->watch.fd);
		if (end_of_file && write(input->watch.fd, &end_of_file, 1) < 0 && errno == EAGAIN)
			return; // full again; on_ready comes back
	}
	stop_writing(input);
}

// Bytes that the pipe took; 0 when it is full. Stops at a reader that is gone.
static uint32_t write_some(struct input *input, const uint8_t *bytes, uint32_t length)
{
	ssize_t count = write(input->watch.fd, bytes, length);
	if (count < 0 && errno != EAGAIN && errno != EINTR)
		stop_writing(input);
	if (count <= 0)
		return 0;
	input->owed += (uint32_t)count;
	process_mark_ready(input->process);
	return (uint32_t)count;
}

static void on_ready(struct watch *watch, uint32_t events)
{
	struct input *input = (struct input *)watch;
	const uint8_t *bytes;
	uint32_t length = ring_readable(&input->buffer, input->written, &bytes);
	(void)events;
	if (length)
		input->written += write_some(input, bytes, length);
	if (watch->fd < 0 || buffered(input))
		return;
	if (input->is_open)
		watch_for(watch, 0);
	else
		finish(input);
}

void input_open(struct input *input, struct process *process, int fd)
{
	*input = (struct input){
		.watch = {.fd = fd, .ready = on_ready},
		.process = process,
		.exists = fd >= 0,
		.is_open = fd >= 0,
		.is_terminal = process->is_terminal,
	};
}

void input_close(struct input *input)
{
	input->is_open = false;
	watch_close(&input->watch);
	ring_close(&input->buffer);
	input->written = 0;
}

// Buffers what the pipe did not take. Without memory the input ends: better that than one with a hole.
static void keep(struct input *input, const uint8_t *bytes, uint32_t length)
{
	if (!input->buffer.bytes && !ring_open(&input->buffer, INPUT_WINDOW_BYTES)) {
		stop_writing(input);
		input->owed += length;
		return;
	}
	ring_append(&input->buffer, bytes, length);
	bool has_hole = input->buffer.capacity < INPUT_WINDOW_BYTES; // it could not grow
	if (has_hole || !watch_for(&input->watch, EPOLLOUT))
		stop_writing(input);
}

bool input_write(struct input *input, const uint8_t *bytes, uint32_t length)
{
	if (length > INPUT_WINDOW_BYTES - buffered(input) - input->owed)
		return false;
	uint32_t taken = 0;
	input->received += length;
	if (input->watch.fd >= 0 && !buffered(input))
		taken = write_some(input, bytes, length);
	if (taken == length)
		return true;
	if (input->watch.fd >= 0) {
		keep(input, bytes + taken, length - taken);
	} else {
		input->owed += length - taken;
		process_mark_ready(input->process);
	}
	return true;
}

void input_end(struct input *input)
{
	if (!input->is_open)
		return;
	input->is_open = false;
	if (input->watch.fd >= 0 && !buffered(input))
		finish(input);
	if (input->watch.fd >= 0 && !watch_for(&input->watch, EPOLLOUT))
		stop_writing(input);
}

uint32_t input_take_grant(struct input *input)
{
	// Half a window at a time: few frames, and a client that has nothing buffered here can always send.
	if (!input->is_open || input->owed < INPUT_WINDOW_BYTES / 2)
		return 0;
	uint32_t grant = input->owed;
	input->owed = 0;
	return grant;
}

uint32_t input_reset_grant(struct input *input)
{
	input->owed = 0;
	return INPUT_WINDOW_BYTES - buffered(input);
}
