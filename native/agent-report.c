// Frames about processes. Each process that has something to say gets its turn with a bounded amount, so a flood delays
// the others by no more than that.
#include "agent-report.h"

#include "agent-connection.h"
#include "agent-process.h"
#include "agent-records.h"

#include <errno.h>
#include <string.h>

enum {
	STDIN_IS_OPEN = 1,
	STDIN_IS_CLOSED = 2,
	CHUNK_BYTES = 32 * 1024, // of one stream in one turn
	OUTPUT_HEAD_BYTES = 1 + 8,
	EXIT_BYTES = 4 + 1 + 5 * 8,
	// The most that put_frames puts for one process.
	TURN_BYTES = CONNECTION_REPLY_BYTES + 3 * WIRE_HEADER_BYTES + 2 * (OUTPUT_HEAD_BYTES + CHUNK_BYTES) + EXIT_BYTES,
	PROCESS_FIXED_BYTES = 4 + 1 + 4 + 1 + 1 + 1 + 2 + 7 * 8 + 4 + 4 + 4,
	PROCESS_BYTES = WIRE_HEADER_BYTES + PROCESS_FIXED_BYTES + PROCESS_MAX_ID_BYTES + PROCESS_MAX_TAG_BYTES +
			PROCESS_MAX_COMMAND_BYTES,
};

static const char writing_ended[] = "stdin is closed";

static uint32_t list_channel; // 0: no listing
static struct process *list_next;

static void put_stdin_credit(uint32_t channel, uint32_t bytes)
{
	wire_put_u32(connection_put(FRAME_STDIN_CREDIT, channel, 4), bytes);
}

// Also when stdin has ended by itself.
static void put_input(struct process *process)
{
	if (!process->writer)
		return;
	if (!process->input.is_open) {
		if (reader_find(process->writer))
			put_stdin_credit(process->writer, 0);
		report_writing_ended(process);
		return;
	}
	uint32_t grant = input_take_grant(&process->input);
	if (grant)
		put_stdin_credit(process->writer, grant);
}

void report_writing_ended(struct process *process)
{
	uint32_t channel = process->writer;
	process_end_writing(process);
	if (!reader_find(channel))
		connection_put_error(channel, EPIPE, writing_ended);
}

static void put_output(struct reader *reader, int stream)
{
	struct output *output = &reader->process->output[stream];
	uint64_t *sent = &reader->streams[stream].sent;
	uint64_t start = ring_start(&output->ring);
	const uint8_t *bytes;
	if (*sent < start)
		*sent = start; // nothing is held for this reader
	uint32_t length = ring_readable(&output->ring, *sent, &bytes);
	if (length > CHUNK_BYTES)
		length = CHUNK_BYTES;
	if (length > reader->credit)
		length = (uint32_t)reader->credit;
	if (!length)
		return;
	uint8_t *at = connection_put(FRAME_OUTPUT, reader->channel, OUTPUT_HEAD_BYTES + length);
	at = wire_put_u64(wire_put_u8(at, (uint8_t)(stream + 1)), *sent);
	wire_put_bytes(at, bytes, length);
	*sent += length;
	reader->credit -= length;
	output_resume(output);
}

static void put_exit(const struct reader *reader)
{
	const struct process *process = reader->process;
	uint8_t *at = connection_put(FRAME_EXIT, reader->channel, EXIT_BYTES);
	at = wire_put_u32(at, (uint32_t)process->wait_status);
	at = wire_put_u8(at, process->is_timed_out);
	at = wire_put_u64(at, process->user_us);
	at = wire_put_u64(at, process->system_us);
	at = wire_put_u64(at, process->max_rss_kib);
	at = wire_put_u64(at, process->output[0].ring.end);
	wire_put_u64(at, process->output[1].ring.end);
}

// One reader at a time, so that what a process puts in its turn does not depend on how many it has.
static void put_frames(struct process *process)
{
	put_input(process);
	struct reader *reader = readers_take_turn(process);
	if (!reader)
		return;
	for (int stream = 0; stream < 2; stream++)
		put_output(reader, stream);
	bool is_done = reader_is_done(reader);
	if (is_done) {
		put_exit(reader);
		reader_leave(reader);
	}
	if (readers_have_news(process))
		process_mark_ready(process);
	if (is_done && process->is_transient)
		process_forget(process); // not while it has other readers
}

static void put_process(const struct process *process)
{
	uint32_t id_bytes = (uint32_t)strlen(process->id), tag_bytes = (uint32_t)strlen(process->tag);
	uint8_t *at = connection_put(FRAME_PROCESS, list_channel,
				     PROCESS_FIXED_BYTES + id_bytes + tag_bytes + process->command_bytes);
	at = wire_put_u32(at, (uint32_t)process->guest_pid);
	at = wire_put_u8(at, process->state != PROCESS_RUNNING);
	at = wire_put_u32(at, (uint32_t)process->wait_status);
	at = wire_put_u8(at, process->is_timed_out);
	at = wire_put_u8(at, process->is_terminal);
	at = wire_put_u8(at, process->input.exists ? process->input.is_open ? STDIN_IS_OPEN : STDIN_IS_CLOSED : 0);
	at = wire_put_u16(at, (uint16_t)process->reader_count);
	at = wire_put_u64(at, process->started_ms);
	at = wire_put_u64(at, process->ended_ms);
	for (int stream = 0; stream < 2; stream++) {
		at = wire_put_u64(at, ring_start(&process->output[stream].ring));
		at = wire_put_u64(at, process->output[stream].ring.end);
	}
	at = wire_put_u64(at, process->input.received);
	at = wire_put_word(at, process->id, id_bytes);
	at = wire_put_word(at, process->tag, tag_bytes);
	at = wire_put_u32(at, process->command_words);
	wire_put_bytes(at, process->command, process->command_bytes);
}

static void put_listing(void)
{
	while (list_next && connection_room() >= PROCESS_BYTES) {
		put_process(list_next);
		list_next = list_next->newer;
	}
	if (list_next || connection_room() < WIRE_HEADER_BYTES)
		return;
	connection_put_empty(FRAME_DONE, list_channel);
	list_channel = 0;
}

void processes_list(uint32_t channel)
{
	list_channel = channel;
	list_next = channel ? records_oldest() : NULL;
}

bool processes_are_listing(void)
{
	return list_channel != 0;
}

void report_skip(const struct process *process)
{
	if (list_next == process)
		list_next = process->newer;
}

bool processes_put_frames(void)
{
	bool was_listing = processes_are_listing();
	if (was_listing)
		put_listing();
	struct process *process = NULL;
	while (connection_room() >= TURN_BYTES && (process = records_take_ready()))
		put_frames(process);
	records_enforce_limits();
	return was_listing || connection_room() < TURN_BYTES;
}
