// A process's standard input: what the client sends goes straight into the pipe (or the terminal's master) and, when that
// is full, into a bounded buffer. The client may send INPUT_WINDOW_BYTES and then as much as it is granted.
#pragma once

#include "agent-ring.h"
#include "agent-watch.h"

#include <stdbool.h>
#include <stdint.h>

struct process;

enum { INPUT_WINDOW_BYTES = 64 * 1024 };

struct input {
	struct watch watch; // first: a watch is converted to its input
	struct process *process;
	struct ring buffer;
	uint64_t received;   // bytes that the client has sent
	uint64_t written;    // offset in `buffer` of the next byte for the pipe
	uint32_t owed;	     // bytes that were consumed and not yet granted again
	bool exists;	     // the process was started with a stdin
	bool is_open;	     // the client may send
	bool is_terminal;
};

void input_open(struct input *input, struct process *process, int fd); // -1: there is none
void input_close(struct input *input);

// False: more than was granted; a violation of the protocol. What a process that closed its stdin does
// not take is discarded, and granted again.
bool input_write(struct input *input, const uint8_t *bytes, uint32_t length);
void input_end(struct input *input); // after what is buffered; a terminal gets its end-of-file character

uint32_t input_take_grant(struct input *input); // to be sent as STDIN_CREDIT now; 0: not worth a frame yet
uint32_t input_reset_grant(struct input *input); // what a new channel may send
