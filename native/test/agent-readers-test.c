// Readers of a process that is no process: a record with rings that the test fills.
#include "agent-process.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY = 1000, WINDOW = 100 };

static struct process *create(uint32_t orphan_ms)
{
	struct process *process = calloc(1, sizeof *process);
	process->orphan_ms = orphan_ms;
	for (int i = 0; i < 2; i++) {
		process->output[i].watch.fd = -1;
		process->output[i].process = process;
		assert(ring_open(&process->output[i].ring, CAPACITY));
	}
	process->is_ready = true; // keeps it out of the queue
	return process;
}

static void destroy(struct process *process)
{
	readers_lose(process);
	readers_drop_held(process);
	assert(!process->readers);
	for (int i = 0; i < 2; i++)
		ring_close(&process->output[i].ring);
	free(process);
}

static void print(struct process *process, uint32_t length)
{
	char bytes[4096];
	memset(bytes, 'x', sizeof bytes);
	ring_append(&process->output[0].ring, bytes, length);
}

static struct reader *attach(struct process *process, uint32_t channel, bool is_holding, uint64_t offset)
{
	const struct reader_spec spec = {
		.channel = channel, .credit = WINDOW, .is_holding = is_holding, .offsets = {offset, 0}};
	return reader_attach(process, &spec);
}

static void a_reader_begins_where_it_asked_or_at_the_oldest_byte(void)
{
	struct process *process = create(0);
	print(process, 2500);
	assert(attach(process, 1, false, 0)->streams[0].attached == 1500);
	assert(attach(process, 2, false, 2000)->streams[0].sent == 2000);
	assert(reader_find(1) != reader_find(2) && reader_find(2)->channel == 2 && !reader_find(3));
	destroy(process);
	assert(!reader_find(1) && !reader_find(2));
}

static void there_is_a_limit_and_a_place_is_free_again(void)
{
	struct process *process = create(0);
	for (uint32_t channel = 1; channel <= PROCESS_MAX_READERS; channel++)
		assert(attach(process, channel * 256, false, 0)); // all in one bucket
	assert(!attach(process, 1, true, 0) && errno == EAGAIN);
	reader_leave(reader_find(256));
	reader_leave(reader_find(2560));
	assert(attach(process, 1, true, 0) && attach(process, 2, true, 0) && !attach(process, 3, true, 0));
	destroy(process);
}

static void what_is_needed_is_what_the_slowest_holding_reader_needs(void)
{
	struct process *process = create(0);
	print(process, 900);
	assert(readers_need_from(process, 0) == 900);
	attach(process, 1, false, 0);
	assert(readers_need_from(process, 0) == 900);
	struct reader *fast = attach(process, 2, true, 0), *slow = attach(process, 3, true, 0);
	fast->streams[0].sent = 900;
	slow->streams[0].sent = 300;
	assert(readers_need_from(process, 0) == 200); // and the window that it may not have consumed
	slow->window = 10000;
	assert(readers_need_from(process, 0) == 0); // at most half of the ring
	reader_leave(slow);
	assert(readers_need_from(process, 0) == 800);
	fast->streams[0].attached = 850;
	assert(readers_need_from(process, 0) == 850);
	destroy(process);
}

static void readers_that_can_be_told_something_take_turns(void)
{
	struct process *process = create(0);
	for (uint32_t channel = 1; channel <= 3; channel++)
		attach(process, channel, false, 0);
	assert(!readers_take_turn(process) && !readers_have_news(process));
	print(process, 10);
	reader_find(2)->credit = 0;
	for (int round = 0; round < 3; round++) {
		assert(readers_take_turn(process)->channel == 1);
		assert(readers_take_turn(process)->channel == 3);
	}
	process->state = PROCESS_EXITED;
	reader_find(1)->streams[0].sent = reader_find(2)->streams[0].sent = 10;
	assert(reader_is_done(reader_find(1)) && !reader_is_done(reader_find(3)));
	assert(readers_take_turn(process)->channel == 2); // the exit needs no credit
	destroy(process);
}

static void places_are_held_for_the_readers_of_a_foreground_program(void)
{
	struct process *process = create(1000);
	attach(process, 1, true, 0);
	attach(process, 2, false, 0);
	print(process, 50);
	readers_lose(process);
	assert(!process->reader_count && process->orphan_deadline_ms && readers_need_from(process, 0) == 0);
	attach(process, 3, false, 0);
	assert(process->orphan_deadline_ms && readers_need_from(process, 0) == 0); // one that only looks
	attach(process, 4, true, 50);
	assert(!process->orphan_deadline_ms && readers_need_from(process, 0) == 50);
	reader_leave(reader_find(4));
	assert(readers_need_from(process, 0) == 50 && !process->orphan_deadline_ms); // another is left
	attach(process, 5, true, 0);
	reader_leave(reader_find(3));
	reader_leave(reader_find(5));
	assert(readers_need_from(process, 0) == 0 && process->orphan_deadline_ms);
	readers_drop_held(process);
	assert(readers_need_from(process, 0) == 50);
	destroy(process);
}

static void places_are_held_for_nobody_else(void)
{
	struct process *process = create(0);
	attach(process, 1, true, 0);
	print(process, 50);
	readers_lose(process);
	assert(!process->readers && !process->orphan_deadline_ms);
	destroy(process);
}

int main(void)
{
	a_reader_begins_where_it_asked_or_at_the_oldest_byte();
	there_is_a_limit_and_a_place_is_free_again();
	what_is_needed_is_what_the_slowest_holding_reader_needs();
	readers_that_can_be_told_something_take_turns();
	places_are_held_for_the_readers_of_a_foreground_program();
	places_are_held_for_nobody_else();
	puts("agent-readers: ok");
}
