// The processes that clients started: one record each, from START until it is forgotten.
//
//   running   the child has not been reaped
//   draining  it has, and its pipes still hold output that there is no room for (a reader is behind)
//   exited    all output is in the rings; kept until forgotten, or dropped as the oldest
//
// A record has at most one reader, which is the channel of a START with the attach flag or of an ATTACH.
#pragma once

#include "agent-input.h"
#include "agent-output.h"
#include "agent-spawn.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum {
	PROCESS_MAX_ID_BYTES = 128,
	PROCESS_MAX_COMMAND_BYTES = 4096, // of argv that are kept to be listed
};

enum process_index { BY_ID, BY_PID, BY_CHANNEL, PROCESS_INDEXES };

enum process_state { PROCESS_RUNNING, PROCESS_DRAINING, PROCESS_EXITED };

struct process {
	struct process *older, *newer;
	struct process *next_in[PROCESS_INDEXES];
	uint32_t key[PROCESS_INDEXES];
	struct process *next_ready; // of those that may have frames to put
	bool is_ready;

	char *id;
	uint8_t *command; // the first words of argv, encoded as in the PROCESS frame
	uint32_t command_bytes, command_words;
	pid_t guest_pid;
	bool is_terminal;
	bool is_transient; // forgotten as soon as a reader has its exit
	enum process_state state;

	uint64_t started_ms, ended_ms; // CLOCK_REALTIME
	uint64_t deadline_ms;	       // CLOCK_MONOTONIC; 0: none
	bool is_timed_out;
	int wait_status;
	uint64_t user_us, system_us, max_rss_kib;

	uint32_t channel; // of the reader; 0: none
	uint64_t credit;  // bytes of output that the reader still takes
	uint32_t window;  // its first credit: at most so much of what was sent is not consumed

	struct output output[2]; // stdout or the terminal, stderr
	struct input input;
};

struct process_spec {
	const char *id;
	struct spawn_request program; // without stdio, which process_start opens
	bool wants_input, is_terminal, is_transient;
	uint16_t cols, rows;
	uint32_t timeout_ms; // 0: none
	uint32_t ring_bytes; // of each stream; 0: the default
};

// Starts and registers a process without a reader. Returns NULL and errno when there is none. A program that could not be
// executed is a process too: one that exited with 126 or 127 and a line of output.
struct process *process_start(const struct process_spec *spec);

// Whether a process was started since the last call.
bool processes_take_started(void);

// The reader starts at the offsets, or at the oldest byte that is left. Takes the place of another reader.
void process_attach(struct process *process, uint32_t channel, uint32_t credit, const uint64_t offsets[2]);
void process_detach(struct process *process); // output goes on into the rings; may be repeated

// Errno, or 0. Only a process that is not reaped can be signalled: later its pid may be another's.
int process_signal(const struct process *process, int signal_number, bool to_group);
int process_resize(const struct process *process, uint16_t cols, uint16_t rows);
int process_forget(struct process *process); // EBUSY while it runs or has a reader

struct process *process_find(const char *id);		      // NULL: none
struct process *process_find_reader(uint32_t channel);	      // by the channel of its reader
void process_mark_ready(struct process *process);	      // it may have frames to put

// Called by its outputs when the last of them is drained or closed.
void process_check_drained(struct process *process);

// The reaper's report. A pid that is no process's was an orphan: nothing happens.
void processes_note_exit(pid_t pid, int wait_status, const struct rusage *usage);
void processes_lose_client(void);

// Kills what is over its deadline; returns for how long the loop may sleep (-1: for ever).
int processes_enforce_deadlines(void);

// Puts what is to be said into the connection, as far as there is room; true when there is more to do.
bool processes_put_frames(void);

// PROCESS frames for all, then DONE. One listing at a time.
void processes_list(uint32_t channel);
bool processes_are_listing(void);
