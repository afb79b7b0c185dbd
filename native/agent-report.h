// What the agent says of its processes without being asked (output, exits, grants of stdin), and the listing of all.
#pragma once

struct process;

// A record goes away: a listing that is under way goes on with the next.
void report_skip(const struct process *process);
