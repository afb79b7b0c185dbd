// The records of processes and what happens to them; agent-report.c says it to the client.
#define _GNU_SOURCE
#include "agent-process.h"

#include "agent-clock.h"
#include "agent-connection.h"
#include "agent-pty.h"
#include "agent-records.h"
#include "agent-stdio.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	DEFAULT_RING_BYTES = 1024 * 1024,
	MIN_RING_BYTES = 4096,
	MAX_RING_BYTES = 16 * 1024 * 1024,
};

static uint64_t earliest_deadline_ms; // 0: none; may be earlier than any that is left
static bool has_started; // since processes_take_started

// ---- starting ------------------------------------------------------------------------------------------------------

static bool keep_command(struct process *process, char *const *argv)
{
	uint32_t bytes = 0, words = 0;
	for (; argv[words]; words++) {
		size_t size = 4 + strlen(argv[words]);
		if (size > PROCESS_MAX_COMMAND_BYTES - bytes)
			break;
		bytes += (uint32_t)size;
	}
	process->command = malloc(bytes ? bytes : 1);
	if (!process->command)
		return false;
	uint8_t *at = process->command;
	for (uint32_t i = 0; i < words; i++)
		at = wire_put_word(at, argv[i], (uint32_t)strlen(argv[i]));
	process->command_bytes = bytes;
	process->command_words = words;
	return true;
}

static struct process *create_record(const struct process_spec *spec)
{
	struct process *process = calloc(1, sizeof *process);
	if (!process)
		return NULL;
	process->output[0].watch.fd = process->output[1].watch.fd = process->input.watch.fd = -1;
	process->is_terminal = spec->is_terminal;
	process->is_transient = spec->is_transient;
	process->orphan_ms = spec->orphan_ms;
	process->id = strdup(spec->id);
	process->tag = strdup(spec->tag);
	if (process->id && process->tag && keep_command(process, spec->program.argv))
		return process;
	record_destroy(process);
	errno = ENOMEM;
	return NULL;
}

static uint32_t ring_size(uint32_t wanted)
{
	if (!wanted)
		return DEFAULT_RING_BYTES;
	return wanted < MIN_RING_BYTES ? MIN_RING_BYTES : wanted > MAX_RING_BYTES ? MAX_RING_BYTES : wanted;
}

// Hands the agent's ends to the record; what it took is -1 in `stdio`.
static bool take_streams(struct process *process, struct stdio *stdio, uint32_t ring_bytes)
{
	for (int i = 0; i < 2; i++) {
		if (!output_open(&process->output[i], process, stdio->agent[1 + i], ring_bytes))
			return false;
		stdio->agent[1 + i] = -1;
	}
	input_open(&process->input, process, stdio->agent[0]);
	stdio->agent[0] = -1;
	return true;
}

static int open_stdio(const struct process_spec *spec, struct stdio *stdio)
{
	return spec->is_terminal ? stdio_open_terminal(stdio, spec->wants_input, spec->cols, spec->rows)
				 : stdio_open_pipes(stdio, spec->wants_input);
}

// What the user sees of a program that could not be started, where its own complaints would have been.
static void append_failure(struct process *process, const struct spawn_failure *failure)
{
	char line[512];
	const char *end = process->is_terminal ? "\r\n" : "\n";
	snprintf(line, sizeof line, "shale: %s %.256s: %s%s", failure->step, failure->subject, strerror(failure->error),
		 end);
	output_append(&process->output[process->is_terminal ? 0 : 1], line);
}

static void expect_deadline(uint64_t at_ms)
{
	if (!earliest_deadline_ms || at_ms < earliest_deadline_ms)
		earliest_deadline_ms = at_ms;
}

static uint64_t set_deadline(uint32_t after_ms)
{
	uint64_t at_ms = now_ms(CLOCK_MONOTONIC) + after_ms;
	expect_deadline(at_ms);
	return at_ms;
}

struct process *process_start(const struct process_spec *spec)
{
	struct stdio stdio;
	struct spawn_failure failure;
	struct spawn_request program = spec->program;
	struct process *process = create_record(spec);
	if (!process)
		return NULL;
	int error = open_stdio(spec, &stdio);
	if (error) {
		record_destroy(process);
		errno = error;
		return NULL;
	}

	memcpy(program.stdio, stdio.child, sizeof program.stdio);
	program.is_terminal = spec->is_terminal;
	bool has_streams = take_streams(process, &stdio, ring_size(spec->ring_bytes));
	process->guest_pid = has_streams ? spawn(&program, &failure) : -1;
	error = errno;
	stdio_close(&stdio);
	if (process->guest_pid < 0) {
		record_destroy(process);
		errno = error;
		return NULL;
	}
	if (failure.step)
		append_failure(process, &failure);
	process->started_ms = now_ms(CLOCK_REALTIME);
	if (spec->timeout_ms)
		process->deadline_ms = set_deadline(spec->timeout_ms);
	record_insert(process);
	has_started = true;
	return process;
}

bool processes_take_started(void)
{
	bool was_started = has_started;
	has_started = false;
	return was_started;
}

// ---- readers and the writer ----------------------------------------------------------------------------------------

void process_note_unattended(struct process *process)
{
	if (process->orphan_ms && process->state != PROCESS_EXITED)
		process->orphan_deadline_ms = set_deadline(process->orphan_ms);
}

void process_begin_writing(struct process *process, uint32_t channel)
{
	process->writer = channel;
	record_index(process, BY_WRITER, channel);
}

void process_end_writing(struct process *process)
{
	if (!process->writer)
		return;
	record_unindex(process, BY_WRITER);
	process->writer = 0;
}

void processes_lose_client(void)
{
	processes_list(0);
	for (struct process *process = records_oldest(); process; process = process->newer) {
		process_end_writing(process);
		readers_lose(process);
	}
}

// ---- requests ------------------------------------------------------------------------------------------------------

int process_signal(const struct process *process, int signal_number, bool to_group)
{
	if (process->state != PROCESS_RUNNING)
		return ESRCH;
	pid_t target = to_group ? -process->guest_pid : process->guest_pid;
	return kill(target, signal_number) < 0 ? errno : 0;
}

int process_resize(const struct process *process, uint16_t cols, uint16_t rows)
{
	int master = process->output[0].watch.fd;
	if (!process->is_terminal)
		return ENOTTY;
	return master < 0 ? ESRCH : pty_resize(master, cols, rows);
}

int process_forget(struct process *process)
{
	if (process->state != PROCESS_EXITED || process->reader_count)
		return EBUSY;
	record_remove(process);
	record_destroy(process);
	return 0;
}

// ---- the end -------------------------------------------------------------------------------------------------------

void process_check_drained(struct process *process)
{
	if (process->state != PROCESS_DRAINING || !process->output[0].is_drained || !process->output[1].is_drained)
		return;
	process->state = PROCESS_EXITED;
	for (int i = 0; i < 2; i++)
		ring_seal(&process->output[i].ring);
	record_note_exited(process);
	readers_drop_held(process); // nothing is overwritten any more
	process_mark_ready(process);
}

static uint64_t to_microseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

void processes_note_exit(pid_t pid, int wait_status, const struct rusage *usage)
{
	struct process *process = record_find_pid(pid);
	if (!process)
		return;
	record_unindex(process, BY_PID);
	process->state = PROCESS_DRAINING;
	process->wait_status = wait_status;
	process->user_us = to_microseconds(usage->ru_utime);
	process->system_us = to_microseconds(usage->ru_stime);
	process->max_rss_kib = (uint64_t)usage->ru_maxrss;
	process->ended_ms = now_ms(CLOCK_REALTIME);
	input_close(&process->input);
	process_mark_ready(process); // whoever writes to it is told
	for (int i = 0; i < 2; i++)
		output_finish(&process->output[i]);
	process_check_drained(process);
}

// True once, when `deadline_ms` has passed.
static bool take_passed(uint64_t *deadline_ms, uint64_t now)
{
	if (!*deadline_ms)
		return false;
	if (*deadline_ms > now) {
		expect_deadline(*deadline_ms);
		return false;
	}
	*deadline_ms = 0;
	return true;
}

// SIGKILL cannot be ignored, and the group is the leader's for as long as it has not been reaped.
static void end_if_overdue(struct process *process, uint64_t now)
{
	bool is_running = process->state == PROCESS_RUNNING;
	if (is_running && take_passed(&process->deadline_ms, now)) {
		process->is_timed_out = true;
		process_signal(process, SIGKILL, true);
	}
	if (take_passed(&process->orphan_deadline_ms, now)) {
		readers_drop_held(process);
		if (!process->reader_count)
			process_signal(process, SIGKILL, true);
	}
}

int processes_enforce_deadlines(void)
{
	enum { LONGEST_SLEEP_MS = 60 * 60 * 1000 };
	if (!earliest_deadline_ms)
		return -1;
	uint64_t now = now_ms(CLOCK_MONOTONIC);
	if (earliest_deadline_ms <= now) {
		earliest_deadline_ms = 0;
		for (struct process *process = records_oldest(); process; process = process->newer)
			end_if_overdue(process, now);
	}
	if (!earliest_deadline_ms)
		return -1;
	uint64_t left = earliest_deadline_ms - now;
	return left < LONGEST_SLEEP_MS ? (int)left : LONGEST_SLEEP_MS;
}
