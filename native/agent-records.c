// Lists and tables of processes.
#include "agent-records.h"

#include "agent-report.h"

#include <stdlib.h>
#include <string.h>

enum {
	BUCKETS = 256,
	MAX_EXITED = 256,		     // records that have exited
	MAX_EXITED_BYTES = 16 * 1024 * 1024, // and what their rings hold
};

static struct process *buckets[PROCESS_INDEXES][BUCKETS];
static struct process *oldest, *newest;
static struct process *first_ready, *last_ready;
static uint32_t exited_count;
static uint64_t exited_bytes;

static uint32_t hash(const char *text) // FNV-1a
{
	uint32_t value = 2166136261u;
	for (; *text; text++)
		value = (value ^ (uint8_t)*text) * 16777619u;
	return value;
}

static struct process **bucket(enum process_index index, uint32_t key)
{
	return &buckets[index][key % BUCKETS];
}

static struct process *find(enum process_index index, uint32_t key, const char *id)
{
	struct process *process = *bucket(index, key);
	while (process && (process->key[index] != key || (id && strcmp(process->id, id) != 0)))
		process = process->next_in[index];
	return process;
}

struct process *process_find(const char *id)
{
	return find(BY_ID, hash(id), id);
}

struct process *process_find_writer(uint32_t channel)
{
	return find(BY_WRITER, channel, NULL);
}

struct process *record_find_pid(pid_t pid)
{
	return find(BY_PID, (uint32_t)pid, NULL);
}

void record_index(struct process *process, enum process_index index, uint32_t key)
{
	struct process **head = bucket(index, key);
	process->key[index] = key;
	process->next_in[index] = *head;
	*head = process;
}

void record_unindex(struct process *process, enum process_index index)
{
	struct process **link = bucket(index, process->key[index]);
	while (*link && *link != process)
		link = &(*link)->next_in[index];
	if (*link)
		*link = process->next_in[index];
}

struct process *records_oldest(void)
{
	return oldest;
}

void record_insert(struct process *process)
{
	process->older = newest;
	*(newest ? &newest->newer : &oldest) = process;
	newest = process;
	record_index(process, BY_ID, hash(process->id));
	record_index(process, BY_PID, (uint32_t)process->guest_pid);
}

static uint64_t held_bytes(const struct process *process)
{
	return (uint64_t)process->output[0].ring.allocated + process->output[1].ring.allocated;
}

static void leave_ready_queue(struct process *process)
{
	struct process **link = &first_ready, *previous = NULL;
	if (!process->is_ready)
		return;
	for (; *link != process; link = &(*link)->next_ready)
		previous = *link;
	*link = process->next_ready;
	if (last_ready == process)
		last_ready = previous;
}

void record_remove(struct process *process)
{
	report_skip(process);
	*(process->older ? &process->older->newer : &oldest) = process->newer;
	*(process->newer ? &process->newer->older : &newest) = process->older;
	for (int index = 0; index < PROCESS_INDEXES; index++)
		record_unindex(process, index);
	leave_ready_queue(process);
	if (process->state == PROCESS_EXITED) {
		exited_count--;
		exited_bytes -= held_bytes(process);
	}
}

void record_destroy(struct process *process)
{
	for (int i = 0; i < 2; i++)
		output_close(&process->output[i]);
	input_close(&process->input);
	free(process->command);
	free(process->tag);
	free(process->id);
	free(process);
}

void record_note_exited(const struct process *process)
{
	exited_count++;
	exited_bytes += held_bytes(process);
}

void records_enforce_limits(void)
{
	struct process *process = oldest;
	while (process && (exited_count > MAX_EXITED || exited_bytes > MAX_EXITED_BYTES)) {
		struct process *next = process->newer;
		if (process->state == PROCESS_EXITED && !process->reader_count) {
			record_remove(process);
			record_destroy(process);
		}
		process = next;
	}
}

void process_mark_ready(struct process *process)
{
	if ((!process->reader_count && !process->writer) || process->is_ready)
		return;
	process->is_ready = true;
	process->next_ready = NULL;
	*(first_ready ? &last_ready->next_ready : &first_ready) = process;
	last_ready = process;
}

struct process *records_take_ready(void)
{
	struct process *process = first_ready;
	if (!process)
		return NULL;
	first_ready = process->next_ready;
	process->is_ready = false;
	return process;
}
