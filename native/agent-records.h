// Where the records of processes are: in order of start, and by id, pid and the channel that writes to stdin.
#pragma once

#include "agent-process.h"

struct process *records_oldest(void); // the others follow in `newer`

void record_insert(struct process *process); // also by its id and pid
void record_remove(struct process *process); // out of everything
void record_destroy(struct process *process); // closes and frees; it is in no list any more

void record_index(struct process *process, enum process_index index, uint32_t key);
void record_unindex(struct process *process, enum process_index index);
struct process *record_find_pid(pid_t pid);

void record_note_exited(const struct process *process);

// Destroys the oldest that have exited and have no reader, while more are kept than the limits allow.
void records_enforce_limits(void);

struct process *records_take_ready(void); // NULL: none
