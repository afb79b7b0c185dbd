// An output stream of a process: the reading end of its pipe (or the terminal's master), and the ring that keeps the newest
// bytes.
//
// With a reader that holds, nothing that it has not consumed is overwritten: when the ring is full the pipe is not read and
// the process blocks. Without one, the ring forgets the oldest bytes and the process never blocks.
#pragma once

#include "agent-ring.h"
#include "agent-watch.h"

#include <stdbool.h>
#include <stdint.h>

struct process;

struct output {
	struct watch watch; // first: a watch is converted to its output
	struct process *process;
	struct ring ring;
	uint32_t left;	 // after the process's exit: how much more is read
	bool is_drained; // nothing more will come into the ring
};

// Takes over the descriptor (-1: there is no such stream). False with errno: it is still the caller's.
bool output_open(struct output *output, struct process *process, int fd, uint32_t ring_bytes);
void output_close(struct output *output);

void output_resume(struct output *output); // to be called when a reader got something or is gone

// After the process was reaped: reads what it left in the pipe, and no more than that, so that a grandchild which holds
// the pipe, or floods it, does not delay the exit. `is_drained` may become true only later, when the reader made room.
void output_finish(struct output *output);

void output_append(struct output *output, const char *text); // a line of the agent's own
