// Readers: attaching and leaving, and whose turn it is.
#include "agent-readers.h"

#include "agent-process.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum { BUCKETS = 256 };

static struct reader *buckets[BUCKETS]; // by channel

struct reader *reader_find(uint32_t channel)
{
	struct reader *reader = buckets[channel % BUCKETS];
	while (reader && reader->channel != channel)
		reader = reader->next_in_bucket;
	return reader;
}

static void index_channel(struct reader *reader)
{
	struct reader **head = &buckets[reader->channel % BUCKETS];
	reader->next_in_bucket = *head;
	*head = reader;
}

static void unindex_channel(struct reader *reader)
{
	struct reader **link = &buckets[reader->channel % BUCKETS];
	while (*link != reader)
		link = &(*link)->next_in_bucket;
	*link = reader->next_in_bucket;
	reader->channel = 0;
}

static void append(struct reader *reader)
{
	struct reader **link = &reader->process->readers;
	while (*link)
		link = &(*link)->next;
	*link = reader;
	reader->next = NULL;
}

static void unlink_reader(struct reader *reader)
{
	struct reader **link = &reader->process->readers;
	while (*link != reader)
		link = &(*link)->next;
	*link = reader->next;
}

static void release(struct reader *reader)
{
	struct process *process = reader->process;
	unlink_reader(reader);
	reader->process = NULL;
	if (reader != &process->first_reader)
		free(reader);
}

static void resume_outputs(struct process *process)
{
	for (int stream = 0; stream < 2; stream++)
		output_resume(&process->output[stream]);
}

// The first one of a process has its place in the record: most have no other, and it cannot fail.
static struct reader *allocate(struct process *process)
{
	if (process->reader_count == PROCESS_MAX_READERS) {
		errno = EAGAIN;
		return NULL;
	}
	return process->first_reader.process ? malloc(sizeof(struct reader)) : &process->first_reader;
}

static bool has_held_place(const struct process *process)
{
	const struct reader *reader = process->readers;
	while (reader && reader->channel)
		reader = reader->next;
	return reader;
}

struct reader *reader_attach(struct process *process, const struct reader_spec *spec)
{
	if (spec->is_holding)
		readers_drop_held(process); // this one holds in their place
	struct reader *reader = allocate(process);
	if (!reader)
		return NULL;
	*reader = (struct reader){
		.process = process,
		.channel = spec->channel,
		.is_holding = spec->is_holding,
		.credit = spec->credit,
		.window = spec->credit,
	};
	for (int stream = 0; stream < 2; stream++) {
		uint64_t start = ring_start(&process->output[stream].ring);
		uint64_t from = spec->offsets[stream] > start ? spec->offsets[stream] : start;
		reader->streams[stream].attached = reader->streams[stream].sent = from;
	}
	if (!has_held_place(process))
		process->orphan_deadline_ms = 0;
	append(reader);
	index_channel(reader);
	process->reader_count++;
	process_mark_ready(process);
	return reader;
}

static void leave(struct reader *reader, bool is_lost)
{
	struct process *process = reader->process;
	unindex_channel(reader);
	process->reader_count--;
	bool is_wanted_back = is_lost || !process->reader_count;
	if (!process->orphan_ms || !reader->is_holding || !is_wanted_back || process->state == PROCESS_EXITED)
		release(reader);
	if (!process->reader_count)
		process_note_unattended(process);
	resume_outputs(process);
}

void reader_leave(struct reader *reader)
{
	leave(reader, false);
}

void readers_lose(struct process *process)
{
	for (struct reader *reader = process->readers, *next; reader; reader = next) {
		next = reader->next;
		if (reader->channel)
			leave(reader, true);
	}
}

void readers_drop_held(struct process *process)
{
	for (struct reader *reader = process->readers, *next; reader; reader = next) {
		next = reader->next;
		if (!reader->channel)
			release(reader);
	}
	resume_outputs(process);
}

static bool is_behind(const struct reader *reader)
{
	const struct output *output = reader->process->output;
	return reader->streams[0].sent < output[0].ring.end || reader->streams[1].sent < output[1].ring.end;
}

bool reader_is_done(const struct reader *reader)
{
	return reader->process->state == PROCESS_EXITED && !is_behind(reader);
}

static bool has_news(const struct reader *reader)
{
	if (!reader->channel)
		return false;
	return is_behind(reader) ? reader->credit > 0 : reader->process->state == PROCESS_EXITED;
}

bool readers_have_news(const struct process *process)
{
	const struct reader *reader = process->readers;
	while (reader && !has_news(reader))
		reader = reader->next;
	return reader;
}

struct reader *readers_take_turn(struct process *process)
{
	struct reader *reader = process->readers;
	while (reader && !has_news(reader))
		reader = reader->next;
	if (reader && reader->next) {
		unlink_reader(reader);
		append(reader);
	}
	return reader;
}

// All that was not sent, and of what was sent the last `window` bytes, which it may not have consumed. So a reader that
// lost its connection and comes back finds everything, unless the process has overwritten it in between.
static uint64_t needs_from(const struct reader *reader, int stream)
{
	uint32_t half = reader->process->output[stream].ring.capacity / 2;
	uint32_t guarded = reader->window < half ? reader->window : half;
	uint64_t sent = reader->streams[stream].sent, attached = reader->streams[stream].attached;
	uint64_t from = sent > guarded ? sent - guarded : 0;
	return from < attached ? attached : from;
}

uint64_t readers_need_from(const struct process *process, int stream)
{
	uint64_t oldest = process->output[stream].ring.end;
	for (const struct reader *reader = process->readers; reader; reader = reader->next) {
		uint64_t from = reader->is_holding ? needs_from(reader, stream) : oldest;
		oldest = from < oldest ? from : oldest;
	}
	return oldest;
}
