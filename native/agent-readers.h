// The readers of processes. A process has up to PROCESS_MAX_READERS; each has a channel, credit and offsets of its own, and
// is told all output from where it began, and then the exit.
//
// A process waits for a reader that holds: nothing is overwritten that it has not consumed. For any other reader the ring
// goes on, and the reader's offset jumps.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct process;

enum { PROCESS_MAX_READERS = 16 };

struct reader {
	struct reader *next;	       // of the same process
	struct reader *next_in_bucket; // of those with channels
	struct process *process;
	uint32_t channel; // 0: it has left, and its place is held until the process's orphan deadline
	bool is_holding;
	uint64_t credit; // bytes of output that it still takes
	uint32_t window; // its first credit: at most so much of what was sent is not consumed
	struct {
		uint64_t attached; // offset at which it began
		uint64_t sent;	   // offset of the next byte for it
	} streams[2];
};

struct reader_spec {
	uint32_t channel, credit;
	bool is_holding;
	uint64_t offsets[2]; // where to begin: there, or at the oldest byte that is left
};

struct reader *reader_find(uint32_t channel); // NULL: the channel is no reader's

// NULL and errno: EAGAIN when the process has too many, ENOMEM. Never fails for the first of a process.
struct reader *reader_attach(struct process *process, const struct reader_spec *spec);

// It is told nothing more, and released. The place of the last one of a process with an orphan time stays held.
void reader_leave(struct reader *reader);
void readers_lose(struct process *process); // all of them, with the connection; places of all that hold stay held
void readers_drop_held(struct process *process);

// The next, in turn, that can be told something now: output within its credit, or the exit. NULL: none.
struct reader *readers_take_turn(struct process *process);
bool readers_have_news(const struct process *process);
bool reader_is_done(const struct reader *reader); // has all output of a process that has exited

// Offset of the oldest byte of the stream that a holding reader may still want; the stream's end when there is none.
uint64_t readers_need_from(const struct process *process, int stream);
