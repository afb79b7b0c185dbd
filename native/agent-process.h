// The processes that clients started: one record each, from START until it is forgotten.
//
//   running   the child has not been reaped
//   draining  it has, and its pipes still hold output that there is no room for (a reader that holds is behind)
//   exited    all output is in the rings; kept until forgotten, or dropped as the oldest
//
// A record has readers (agent-readers.h), and at most one channel that writes to its stdin.
#pragma once

#include "agent-input.h"
#include "agent-output.h"
#include "agent-readers.h"
#include "agent-spawn.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum {
	PROCESS_MAX_ID_BYTES = 128,
	PROCESS_MAX_TAG_BYTES = 64,
	PROCESS_MAX_COMMAND_BYTES = 4096, // of argv that are kept to be listed
};

enum process_index { BY_ID, BY_PID, BY_WRITER, PROCESS_INDEXES };

enum process_state { PROCESS_RUNNING, PROCESS_DRAINING, PROCESS_EXITED };

struct process {
	struct process *older, *newer;
	struct process *next_in[PROCESS_INDEXES];
	uint32_t key[PROCESS_INDEXES];
	struct process *next_ready; // of those that may have frames to put
	bool is_ready;

	char *id, *tag;
	uint8_t *command; // the first words of argv, encoded as in the PROCESS frame
	uint32_t command_bytes, command_words;
	pid_t guest_pid;
	bool is_terminal;
	bool is_transient; // forgotten as soon as its readers have its exit
	enum process_state state;

	uint64_t started_ms, ended_ms; // CLOCK_REALTIME
	uint64_t deadline_ms;	       // CLOCK_MONOTONIC; 0: none
	uint64_t orphan_deadline_ms;   // likewise: when it ends unless a reader comes
	uint32_t orphan_ms;	       // how long it lives without a reader; 0: it needs none
	bool is_timed_out;
	int wait_status;
	uint64_t user_us, system_us, max_rss_kib;

	struct reader *readers; // the one whose turn is next comes first
	uint32_t reader_count;	// of those with a channel
	struct reader first_reader;
	uint32_t writer; // channel that writes to stdin; 0: none

	struct output output[2]; // stdout or the terminal, stderr
	struct input input;
};

struct process_spec {
	const char *id, *tag;
	struct spawn_request program; // without stdio, which process_start opens
	bool wants_input, is_terminal, is_transient;
	uint16_t cols, rows;
	uint32_t timeout_ms; // 0: none
	uint32_t orphan_ms;  // 0: none
	uint32_t ring_bytes; // of each stream; 0: the default
};

// Starts and registers a process without a reader. Returns NULL and errno when there is none. A program that could not be
// executed is a process too: one that exited with 126 or 127 and a line of output.
struct process *process_start(const struct process_spec *spec);

// Whether a process was started since the last call.
bool processes_take_started(void);

void process_note_unattended(struct process *process); // it has no reader: its orphan time begins

// The channel that writes to stdin; only when there is none, and stdin is open.
void process_begin_writing(struct process *process, uint32_t channel);
void process_end_writing(struct process *process); // may be repeated

// Errno, or 0. Only a process that is not reaped can be signalled: later its pid may be another's.
int process_signal(const struct process *process, int signal_number, bool to_group);
int process_resize(const struct process *process, uint16_t cols, uint16_t rows);
int process_forget(struct process *process); // EBUSY while it runs or has a reader

struct process *process_find(const char *id);		      // NULL: none
struct process *process_find_writer(uint32_t channel);	      // by the channel that writes to its stdin
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
