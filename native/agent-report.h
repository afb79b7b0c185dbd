// What the agent says of its processes without being asked (output, exits, grants of stdin), and the listing of all.
#pragma once

struct process;

// The channel that writes to the process's stdin is over: said unless it is a reader's too, which goes on.
void report_writing_ended(struct process *process);

// A record goes away: a listing that is under way goes on with the next.
void report_skip(const struct process *process);
