// File operations, from the agent's side: each is a worker, a child of the agent that runs the agent's own program anew
// (agent-files-worker.c), at the other end of a tunnel. So nothing that a file system of the sandbox does, or does not do,
// can make the agent wait, and a worker holds nothing of the agent's memory.
//
// A worker ends by itself. When its tunnel is over it has a moment to clean up, and is killed.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	FILES_MAX_REQUEST_BYTES = 16 * 1024,
};

// The word by which main() knows that it is to be a worker.
extern const char files_worker_argument[];

// Opens a tunnel to a new worker, which gets the request; or answers END with EAGAIN (too many workers, or processes) or
// another errno.
void files_open(uint32_t channel, uint32_t credit, const uint8_t *request, uint32_t length);

// The reaper's report; false when the pid is no worker's.
bool files_note_exit(pid_t pid);

// Kills workers whose moment is over; returns for how long the loop may sleep (-1: for ever).
int files_enforce_deadlines(void);
