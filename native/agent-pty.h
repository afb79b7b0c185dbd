// Pseudo-terminals of the sandbox's own devpts.
#pragma once

#include <stdint.h>

struct pty {
	int master; // non-blocking
	int slave;
};

// Returns 0 or an errno; both descriptors are close-on-exec and the caller's. cols or rows 0: 80 × 24.
int pty_open(struct pty *pty, uint16_t cols, uint16_t rows);
int pty_resize(int master, uint16_t cols, uint16_t rows);

// The byte that a terminal line reads as end of file, VEOF of termios(3); 0 when it is switched off.
uint8_t pty_end_of_file(int master);
