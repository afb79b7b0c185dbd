// Starting a program as a child of the agent.
#pragma once

#include "agent-users.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn_limit {
	uint32_t resource; // RLIMIT_*
	uint64_t soft;
	uint64_t hard;
};

struct spawn_request {
	char *const *argv;
	char *const *envp;
	const char *cwd; // "" is /
	const struct user *user;
	const struct spawn_limit *limits;
	uint32_t limit_count;
	int stdio[3]; // what becomes 0, 1, 2; all above 2. -1 for stdin: an empty input
	bool is_terminal; // stdio is a terminal, which becomes the controlling one
};

// Why the child did not become the program; `step` NULL: it did.
struct spawn_failure {
	const char *step;    // "exec", "chdir", …
	const char *subject; // what the step was applied to
	int error;
};

void spawn_init(void);

// Returns the child's pid after it became the program or failed to (it then exits with spawn_exit_code), or -1 with errno
// when there is no child. Only the reaper in agent.c waits for it.
pid_t spawn(const struct spawn_request *request, struct spawn_failure *failure);

int spawn_exit_code(const struct spawn_failure *failure); // 127: not found, 126: found but not started (like sh)
