// The descriptors between the agent and a new child: pipes, or a terminal.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct stdio {
	int child[3]; // the child's 0, 1, 2; -1: it has none of its own and gets the agent's empty input
	int agent[3]; // the other ends, non-blocking; -1: there is none
};

// Returns 0, or an errno and nothing is open. EMFILE leaves some descriptors for the agent's own needs.
int stdio_open_pipes(struct stdio *stdio, bool wants_input);
int stdio_open_terminal(struct stdio *stdio, bool wants_input, uint16_t cols, uint16_t rows);

void stdio_close_child(struct stdio *stdio);
void stdio_close(struct stdio *stdio);
